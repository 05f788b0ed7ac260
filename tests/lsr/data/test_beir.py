from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lsr.core.errors import DataError, DatasetNotFoundError, RecordError
from lsr.core.records import Document, Qrel, Query
from lsr.data.bad_lines import BadLines
from lsr.data.beir import BeirDataset
from lsr.data.fields import FieldMap


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_folder_of_any_compression(make_beir: Callable[..., Path], suffix: str) -> None:
    dataset = BeirDataset(make_beir(suffix=suffix))
    assert dataset.name == "tiny"
    documents = list(dataset.documents())
    assert documents[0] == Document("d1", "A flea can jump.", "Fleas", {"url": "u1"})
    assert [d.doc_id for d in documents] == ["d1", "d2", "d3"]
    assert dataset.n_documents() == (None if suffix else 3)
    assert dataset.splits() == ["test", "train"]
    assert list(dataset.qrels("test")) == [
        Qrel("q2", "d2", 1),
        Qrel("q1", "d1", 2),
        Qrel("q1", "d3", 0),
    ]
    assert list(dataset.qrels("train")) == [Qrel("q3", "d3", 1)]
    # The queries a split judges, in the order of their file.
    assert [q.query_id for q in dataset.queries()] == ["q1", "q2"]
    assert list(dataset.queries("train")) == [Query("q3", "what is drunk")]
    assert len(list(dataset.queries("all"))) == 3


def test_an_unknown_split_names_the_known(make_beir: Callable[..., Path]) -> None:
    dataset = BeirDataset(make_beir())
    with pytest.raises(DatasetNotFoundError, match="no split 'tets'; it has test, train. Did you"):
        list(dataset.queries("tets"))
    with pytest.raises(DatasetNotFoundError, match="no split 'dev'"):
        dataset.qrels("dev")


def test_a_folder_without_judgements_has_all_its_queries(make_beir: Callable[..., Path]) -> None:
    folder = make_beir()
    for path in (folder / "qrels").iterdir():
        path.unlink()
    dataset = BeirDataset(folder)
    assert dataset.splits() == []
    assert len(list(dataset.queries("all"))) == 3
    with pytest.raises(DatasetNotFoundError, match="it has no judgements"):
        list(dataset.queries())


def test_missing_files_are_named(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    with pytest.raises(DatasetNotFoundError, match="No corpus.jsonl"):
        BeirDataset(tmp_path)
    folder = make_beir()
    (folder / "queries.jsonl").unlink()
    with pytest.raises(DataError, match="has no queries.jsonl"):
        list(BeirDataset(folder).queries())


def test_fields_are_the_corpus_own_and_queries_keep_beirs(make_beir: Callable[..., Path]) -> None:
    folder = make_beir(corpus=[{"key": 1, "body": "x"}])
    dataset = BeirDataset(folder, fields=FieldMap("key", ("body",), None), name="mine")
    assert dataset.name == "mine"
    assert list(dataset.documents()) == [Document("1", "x", "", {})]
    assert len(list(dataset.queries())) == 2


def test_one_budget_for_all_files(make_beir: Callable[..., Path]) -> None:
    folder = make_beir(
        corpus=[{"_id": "d1", "text": "x"}, {"_id": "d1", "text": "y"}],
        queries=[{"_id": "q1", "text": ""}, {"_id": "q2", "text": "x"}],
    )
    bad = BadLines(2)
    dataset = BeirDataset(folder, bad=bad)
    assert len(list(dataset.documents())) == 1
    assert len(list(dataset.queries())) == 1
    assert bad.n_skipped == 2
    strict = BeirDataset(folder, bad=BadLines(1))
    list(strict.documents())
    with pytest.raises(RecordError, match="The query 'q1' has no text"):
        list(strict.queries())


def test_the_real_scifact(shared_data: Path, tmp_path: Path) -> None:
    from lsr.data.fetch import unpack

    archive = shared_data / "scifact.tar.zst"
    if not archive.is_file():
        pytest.skip("scifact is not there")
    dataset = BeirDataset(unpack(archive, tmp_path / "scifact"))
    documents = {d.doc_id: d for d in dataset.documents()}
    assert len(documents) == dataset.n_documents() == 5183
    assert documents["4983"].title.startswith("Microstructural development of human newborn")
    assert len(list(dataset.queries("test"))) == 300
    assert len(list(dataset.queries("train"))) == 809
    assert len(list(dataset.qrels("test"))) == 339
    assert next(dataset.queries("test")) == Query(
        "1", "0-dimensional biomaterials show inductive properties."
    )
