from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard


def write_bytes(path: Path, content: bytes) -> Path:
    """Write `content`, compressed by the suffix of `path`, without the code under test."""
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = zstandard.ZstdCompressor().compress(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    return write_bytes(path, "".join(f"{line}\n" for line in lines).encode("utf-8"))


def write_jsonl(path: Path, records: Iterable[Any]) -> Path:
    return write_lines(path, (json.dumps(r, ensure_ascii=False) for r in records))
