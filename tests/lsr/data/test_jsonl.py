from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import pytest

from lsr.core.errors import DatasetNotFoundError, DuplicateRecordError, RecordError
from lsr.core.records import Document, Query
from lsr.data.bad_lines import BadLines
from lsr.data.fields import FieldMap
from lsr.data.jsonl import JsonlDataset, count_lines, read_documents, read_queries
from tests.helpers.files import write_bytes, write_jsonl, write_lines


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_documents_of_any_compression(tmp_path: Path, suffix: str) -> None:
    path = write_jsonl(
        tmp_path / f"a.jsonl{suffix}",
        [{"_id": "1", "text": "ä", "title": "T"}, {"_id": 2, "text": "b", "n": 1}],
    )
    assert list(read_documents(path)) == [
        Document("1", "ä", "T", {}),
        Document("2", "b", "", {"n": 1}),
    ]


def test_every_kind_of_bad_line_is_numbered_and_can_be_skipped(tmp_path: Path) -> None:
    lines = [
        '{"_id": "1", "text": "one"}',
        '{"_id": "2", "text": "two"',
        '{"_id": "3"}',
        '{"text": "four"}',
        '{"_id": "1", "text": "again"}',
        "[]",
        '{"_id": "7", "text": NaN}',
        '{"_id": "8", "text": "eight"}',
    ]
    path = write_lines(tmp_path / "a.jsonl", lines)
    bad = BadLines(6)
    assert [d.doc_id for d in read_documents(path, bad=bad)] == ["1", "8"]
    assert [e.line for e in bad.examples] == [2, 3, 4, 5, 6, 7]
    with pytest.raises(RecordError, match="line 2: Broken JSON"):
        list(read_documents(path))
    with pytest.raises(RecordError, match="line 7"):
        list(read_documents(path, bad=BadLines(5)))


def test_a_repeated_id_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"_id": i, "text": "x"} for i in ("a", "b", "a")])
    with pytest.raises(DuplicateRecordError, match="line 3: The document id 'a' stands twice"):
        list(read_documents(path))
    # 7 and "7" are one id: both are written out as text.
    path = write_jsonl(tmp_path / "b.jsonl", [{"_id": i, "text": "x"} for i in (7, "7")])
    with pytest.raises(DuplicateRecordError):
        list(read_documents(path))


def test_reading_twice_does_not_take_the_first_pass_for_duplicates(tmp_path: Path) -> None:
    dataset = JsonlDataset(write_jsonl(tmp_path / "a.jsonl", [{"_id": "a", "text": "x"}]))
    assert list(dataset.documents()) == list(dataset.documents())


def test_empty_documents_are_kept_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [
        {"_id": "a", "text": ""},
        {"_id": "b", "text": " ", "title": "T"},
        {"_id": "c", "text": "\n"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    assert len(list(read_documents(path))) == 3
    assert len(caplog.records) == 1
    assert "2 documents have neither title nor text (the first is 'a')" in caplog.text


def test_queries_need_text_and_unique_ids(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "q.jsonl",
        [{"_id": "1", "text": "a"}, {"_id": "2", "text": ""}, {"_id": "1", "text": "b"}],
    )
    bad = BadLines(2)
    assert list(read_queries(path, bad=bad)) == [Query("1", "a")]
    assert [e.reason for e in bad.examples] == [
        "The query '2' has no text.",
        "The query id '1' stands twice.",
    ]
    with pytest.raises(RecordError, match="line 2: The query '2' has no text"):
        list(read_queries(path))


def test_dataset_of_one_file(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "wiki.jsonl", [{"key": "a", "body": "x"}, {"key": "b", "body": ""}]
    )
    dataset = JsonlDataset(path, fields=FieldMap("key", ("body",), None))
    assert dataset.name == "wiki"
    assert [d.doc_id for d in dataset.documents()] == ["a", "b"]
    assert dataset.n_documents() == 2
    assert dataset.splits() == []
    assert list(dataset.queries("all")) == []
    for read in (dataset.queries, dataset.qrels):
        with pytest.raises(DatasetNotFoundError, match="'wiki' has no split 'test'; it has no jud"):
            read("test")


def test_counting_lines(tmp_path: Path) -> None:
    assert count_lines(write_bytes(tmp_path / "a", b"")) == 0
    assert count_lines(write_bytes(tmp_path / "b", b"a\nb\n")) == 2
    assert count_lines(write_bytes(tmp_path / "c", b"a\nb")) == 2
    assert count_lines(write_bytes(tmp_path / "d.gz", b"a\n")) is None


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_streaming_takes_memory_that_does_not_grow(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(5)
    words = [f"word{rng.randrange(5000)}" for _ in range(5000)]
    lines = (
        json.dumps({"_id": f"d{i}", "text": " ".join(rng.choices(words, k=100))})
        for i in range(5_000)
    )
    path = write_lines(tmp_path / f"a.jsonl{suffix}", lines)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents(path)) == 5_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 4.5 MB of text pass; what stays are the hashes of the ids and a buffer.
    assert peak < 2_000_000, f"peak {peak} bytes"


@pytest.mark.slow
def test_half_a_million_passages_stream_in_flat_memory(shared_data: Path) -> None:
    path = shared_data / "enwiki_500k.jsonl.zst"
    if not path.is_file():
        pytest.skip("enwiki_500k is not there")
    peaks, count = [], 0
    tracemalloc.start()
    try:
        for document in read_documents(path):
            assert document.title
            count += 1
            if count % 100_000 == 0:
                peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert count == 500_000
    # 200 MB of text; 8 bytes a document and a bounded set of hashes stay.
    assert peaks[-1] < 40_000_000, f"peaks {peaks}"
