from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import pytest

from lsr.core.errors import DatasetNotFoundError, DownloadError, MissingDependencyError
from lsr.core.records import Document, Qrel, Query
from lsr.data import irds
from lsr.data.irds import IrdsDataset, is_irds_id

Doc = namedtuple("Doc", ["doc_id", "title", "text", "url", "raw"])
Odd = namedtuple("Odd", ["doc_id", "parts"])
Topic = namedtuple("Topic", ["query_id", "title"])
Judgement = namedtuple("Judgement", ["query_id", "doc_id", "relevance", "iteration"])


class Source:
    """What ir_datasets.load gives, as far as it is used."""

    def __init__(self, *, qrels: list[Any] | None = None, broken: bool = False) -> None:
        self._qrels = qrels
        self._broken = broken

    def has_docs(self) -> bool:
        return True

    def has_queries(self) -> bool:
        return True

    def has_qrels(self) -> bool:
        return self._qrels is not None

    def docs_iter(self) -> Iterator[Any]:
        yield Doc("d1", "T", "text", "http://x", b"raw")
        if self._broken:
            raise OSError("Max retries exceeded")
        odd = type("O", (Odd,), {"default_text": lambda self: " ".join(self.parts)})
        yield odd("d2", ["a", "b"])

    def queries_iter(self) -> Iterator[Any]:
        topic = type("T", (Topic,), {"default_text": lambda self: self.title})
        yield topic("q1", "first")
        yield topic("q2", "second")

    def qrels_iter(self) -> Iterator[Any]:
        yield from self._qrels or ()

    def docs_metadata(self) -> dict[str, int]:
        return {"count": 2}


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> dict[str, Source]:
    """A stand-in for ir_datasets with a small catalogue."""
    known = {
        "set": Source(),
        "set/test": Source(qrels=[Judgement("q1", "d1", 1, "0")]),
        "set/train": Source(qrels=[Judgement("q2", "d2", 2, "Q0")]),
        "set/dev/small": Source(qrels=[Judgement("q2", "d2", 1, "0")]),
        "broken": Source(broken=True),
    }

    class Package:
        registry = known

        @staticmethod
        def load(name: str) -> Source:
            return known[name]

    monkeypatch.setattr(irds, "_package", Package)
    return known


def test_an_id_with_judgements_is_one_split(package: dict[str, Source]) -> None:
    dataset = IrdsDataset("set/test")
    assert dataset.name == "set/test"
    assert dataset.splits() == ["test"]
    assert dataset.n_documents() == 2
    assert list(dataset.documents()) == [
        Document("d1", "text", "T", {"url": "http://x"}),
        Document("d2", "a b"),
    ]
    assert list(dataset.queries()) == [Query("q1", "first")]
    assert list(dataset.qrels()) == [Qrel("q1", "d1", 1)]
    assert len(list(dataset.queries("all"))) == 2


@pytest.mark.parametrize(("name", "split"), [("set/train", "train"), ("set/dev/small", "dev")])
def test_the_split_is_read_off_the_id(package: dict[str, Source], name: str, split: str) -> None:
    dataset = IrdsDataset(name)
    assert dataset.splits() == [split]
    with pytest.raises(DatasetNotFoundError, match=f"no split 'test'; it has {split}"):
        list(dataset.queries())


def test_an_id_without_judgements_has_its_childrens(package: dict[str, Source]) -> None:
    dataset = IrdsDataset("set")
    assert dataset.splits() == ["dev/small", "test", "train"]
    assert list(dataset.qrels("train")) == [Qrel("q2", "d2", 2, "Q0")]
    assert list(dataset.queries("train")) == [Query("q2", "second")]


def test_unknown_ids_have_near_names(package: dict[str, Source]) -> None:
    assert is_irds_id("set/test")
    assert not is_irds_id("set/tests")
    with pytest.raises(DatasetNotFoundError, match="'set/tests'. Did you mean 'set/test'"):
        IrdsDataset("set/tests")


def test_a_failed_download_says_so(package: dict[str, Source]) -> None:
    documents = IrdsDataset("broken").documents()
    assert next(documents).doc_id == "d1"
    message = "could not give the documents of 'broken': Max retries"
    with pytest.raises(DownloadError, match=message):
        next(documents)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert not is_irds_id("beir/scifact/test")
    with pytest.raises(MissingDependencyError, match=r"lsr-search\[eval\]"):
        IrdsDataset("beir/scifact/test")


def test_the_real_catalogue() -> None:
    pytest.importorskip("ir_datasets")
    assert IrdsDataset("beir/scifact").splits() == ["test", "train"]
    dataset = IrdsDataset("beir/scifact/test")
    assert dataset.splits() == ["test"]
    assert dataset.n_documents() == 5183
