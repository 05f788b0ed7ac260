from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lsr.core.errors import DataError, RecordError
from lsr.data.bad_lines import BadLines
from lsr.data.pairs import Pair, read_pairs
from tests.helpers.files import write_bytes, write_jsonl, write_lines


def pair(name: str, source: str | None = None) -> dict[str, str]:
    return {"query": f"q {name}", "positive": f"p {name}"} | ({"source": source} if source else {})


def archive(path: Path, files: dict[str, bytes]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return write_bytes(path, buffer.getvalue())


def test_files_folders_and_their_sources(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train" / "b.jsonl.zst", [pair("1", "other")])
    write_jsonl(tmp_path / "train" / "a.jsonl", [pair("2")])
    (tmp_path / "train" / "summary.json").write_text("{}")
    single = write_jsonl(tmp_path / "c.jsonl.gz", [pair("3")])
    assert list(read_pairs([tmp_path / "train", single])) == [
        Pair("q 2", "p 2", "a"),
        Pair("q 1", "p 1", "other"),
        Pair("q 3", "p 3", "c"),
    ]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_archives_are_read_without_unpacking(tmp_path: Path, suffix: str) -> None:
    line = b'{"query": "q", "positive": "p"}\n'
    path = archive(
        tmp_path / f"train{suffix}",
        {
            "train/a.jsonl": line * 2,
            "train/summary.json": b"{}",
            "train/b.jsonl": line,
            "train/left_out.jsonl": b"not even JSON\n",
        },
    )
    pairs = list(read_pairs([path], exclude=["left_out"]))
    assert [p.source for p in pairs] == ["a", "a", "b"]
    with pytest.raises(RecordError, match=r"train/left_out.jsonl, line 1: Broken JSON"):
        list(read_pairs([path]))


def test_sources_are_left_out_by_name_of_line_and_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [pair("1", "x"), pair("2", "y"), pair("3")])
    write_lines(tmp_path / "b.jsonl", ["broken, and not read"])
    pairs = list(read_pairs([tmp_path], exclude={"x", "b"}))
    assert [p.query for p in pairs] == ["q 2", "q 3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Broken JSON"),
        ('{"query": "q"}', "'positive' is missing"),
        ('{"query": "", "positive": "p"}', "'query' must be a text, not empty"),
        ('{"query": "q", "positive": ["p"]}', "'positive' must be a text"),
        ('{"query": "q", "positive": "p", "source": 3}', '"source" must be a name'),
    ],
)
def test_bad_lines_are_numbered_and_can_be_skipped(tmp_path: Path, line: str, message: str) -> None:
    good = '{"query": "q", "positive": "p"}'
    path = write_lines(tmp_path / "a.jsonl", [good, line, good])
    with pytest.raises(RecordError, match=f"line 2: .*{message}"):
        list(read_pairs([path]))
    bad = BadLines(1)
    assert len(list(read_pairs([path], bad=bad))) == 2
    assert bad.n_skipped == 1


def test_missing_empty_and_damaged_sources(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No training pairs at"):
        list(read_pairs([tmp_path / "none.jsonl"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No .jsonl file in the folder"):
        list(read_pairs([tmp_path / "empty"]))
    path = archive(tmp_path / "a.tar", {"x.txt": b"x"})
    with pytest.raises(DataError, match="No .jsonl file in the archive"):
        list(read_pairs([path]))
    write_bytes(tmp_path / "b.tar", b"no tar" * 1000)
    with pytest.raises(DataError, match="is damaged"):
        list(read_pairs([tmp_path / "b.tar"]))


def test_the_real_training_archive(shared_data: Path) -> None:
    path = shared_data / "train.tar.zst"
    if not path.is_file():
        pytest.skip("train is not there")
    # The first member; the rest of the 350 MB is not decompressed.
    first = next(read_pairs([path]))
    assert first.source == "covid_faq"
    assert first.query
    assert first.positive
