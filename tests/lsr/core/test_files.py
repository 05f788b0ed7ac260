from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from lsr.core.errors import DataError
from lsr.core.files import open_text, strip_compression

TEXT = "eins\nzwei ä\n"


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_whatever_the_compression(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.jsonl{suffix}"
    raw = TEXT.encode()
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[suffix]
    path.write_bytes(pack(raw))
    with open_text(path) as lines:
        assert lines.read() == TEXT
    assert strip_compression(path) == "t.jsonl"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damage_and_truncation(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"this is not compressed")
    with pytest.raises(DataError, match="damaged"), open_text(path) as lines:
        lines.read()


def test_truncated_gzip(tmp_path: Path) -> None:
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 1000)[:-20])
    with pytest.raises(DataError, match="damaged"), open_text(path) as lines:
        lines.read()


def test_other_encodings_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("Ä".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"), open_text(path) as lines:
        lines.read()
    with pytest.raises(DataError, match="No file"), open_text(tmp_path / "none"):
        raise AssertionError
