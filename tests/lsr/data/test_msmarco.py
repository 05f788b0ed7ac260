from __future__ import annotations

from pathlib import Path

import pytest

from lsr.core.errors import DataError, DatasetNotFoundError, DuplicateRecordError, RecordError
from lsr.core.records import Document, Qrel, Query
from lsr.data.bad_lines import BadLines
from lsr.data.msmarco import MsMarcoDataset, TsvDataset, read_tsv_documents, read_tsv_queries
from tests.helpers.files import write_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "msmarco"
    write_lines(folder / "collection.tsv", ["0\tThe flea.", "1\tTea is\u2028a drink."])
    write_lines(folder / "queries.dev.small.tsv", ["7\twhat jumps", "8\tnot judged"])
    write_lines(folder / "queries.train.tsv.gz", ["9\twhat is drunk"])
    write_lines(folder / "qrels.dev.small.tsv", ["7\t0\t0\t1"])
    write_lines(folder / "qrels.train.tsv.zst", ["9\t0\t1\t1"])
    return folder


def test_a_folder_with_the_official_names(folder: Path) -> None:
    dataset = MsMarcoDataset(folder)
    assert dataset.name == "msmarco"
    assert dataset.n_documents() == 2
    assert list(dataset.documents())[1] == Document("1", "Tea is\u2028a drink.")
    assert dataset.splits() == ["dev.small", "train"]
    assert list(dataset.queries("dev.small")) == [Query("7", "what jumps")]
    assert list(dataset.qrels("train")) == [Qrel("9", "1", 1)]
    assert [q.query_id for q in dataset.queries("all")] == ["7", "8", "9"]
    with pytest.raises(DatasetNotFoundError, match="no split 'dev'; it has dev.small, train"):
        dataset.qrels("dev")


def test_plain_names_are_the_test_split_and_serve_others(tmp_path: Path) -> None:
    write_lines(tmp_path / "collection.tsv", ["0\tx"])
    write_lines(tmp_path / "queries.tsv", ["1\ta", "2\tb"])
    write_lines(tmp_path / "qrels.tsv", ["1\t0\t0\t1"])
    write_lines(tmp_path / "qrels.dl19.txt", ["2 0 0 3"])
    dataset = MsMarcoDataset(tmp_path)
    assert dataset.splits() == ["dl19", "test"]
    assert list(dataset.queries()) == [Query("1", "a")]
    assert list(dataset.queries("dl19")) == [Query("2", "b")]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="No collection.tsv"):
        MsMarcoDataset(tmp_path)
    write_lines(tmp_path / "collection.tsv", ["0\tx"])
    write_lines(tmp_path / "qrels.dev.tsv", ["1\t0\t0\t1"])
    with pytest.raises(DataError, match="has no queries.dev.tsv"):
        list(MsMarcoDataset(tmp_path).queries("dev"))


def test_the_documents_corpus_has_four_columns(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "msmarco-docs.tsv", ["D1\thttp://x\tTitle\tBody text"])
    dataset = TsvDataset(path)
    assert dataset.name == "msmarco-docs"
    assert list(dataset.documents()) == [Document("D1", "Body text", "Title", {"url": "http://x"})]
    assert dataset.splits() == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "1 columns, expected 2"),
        ("1\ta\tb", "3 columns, expected 2 .* or 4"),
        ("\ta", "column 1.* is empty"),
    ],
)
def test_bad_passages_are_numbered(tmp_path: Path, line: str, message: str) -> None:
    path = write_lines(tmp_path / "c.tsv", ["0\tx", line, "2\ty"])
    with pytest.raises(RecordError, match=f"line 2: .*{message}"):
        list(read_tsv_documents(path))
    bad = BadLines(1)
    assert [d.doc_id for d in read_tsv_documents(path, bad=bad)] == ["0", "2"]
    assert bad.n_skipped == 1


def test_bad_queries_and_duplicates(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "q.tsv", ["1\ta", "1\tb", "2\t ", "3\ta\tb"])
    bad = BadLines(3)
    assert list(read_tsv_queries(path, bad=bad)) == [Query("1", "a")]
    assert [e.line for e in bad.examples] == [2, 3, 4]
    with pytest.raises(DuplicateRecordError, match="line 2: The query id '1' stands twice"):
        list(read_tsv_queries(path))
