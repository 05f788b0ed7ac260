"""A collection of six documents, for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indexing import build_index
from lsr.core.records import Document, Qrel, Query
from lsr.data.base import Dataset
from lsr.encoders import LexicalEncoder, encode_collection

__all__ = ["SmallDataset", "build_small_index", "write_beir"]

DOCUMENTS = [
    Document("d1", "A cat sat on the warm mat."),
    Document("d2", "Dogs chase cats through the house.", "Dogs"),
    Document("d3", "The river carries stones to the sea."),
    Document("d4", "Clouds hide the sun above the river."),
    Document("d5", "A mouse hides from the cat."),
    Document("d6", "Wool makes a warm coat."),
]
QUERIES = [
    Query("q1", "warm cat"),
    Query("q2", "river stones"),
    Query("q3", "zebra"),
    Query("d5", "mouse cat"),
    Query("unjudged", "wool"),
]
QRELS = [
    Qrel("q1", "d1", 2),
    Qrel("q1", "d6", 1),
    Qrel("q2", "d3", 1),
    Qrel("q3", "d4", 1),
    Qrel("d5", "d1", 1),
]


class SmallDataset(Dataset):
    """Four judged queries: one finds nothing, one has the id of a document."""

    def __init__(self, name: str = "small") -> None:
        self.name = name

    def documents(self) -> Iterator[Document]:
        yield from DOCUMENTS

    def splits(self) -> list[str]:
        return ["test"]

    def queries(self, split: str = "test") -> Iterator[Query]:
        yield from QUERIES

    def qrels(self, split: str = "test") -> Iterator[Qrel]:
        yield from QRELS


def fit_lexical() -> LexicalEncoder:
    return LexicalEncoder.fit(d.content for d in DOCUMENTS)


def build_small_index(folder: Path) -> Path:
    """Encode and index the six documents; return the index folder."""
    encode_collection(fit_lexical(), iter(DOCUMENTS), folder / "vectors")
    build_index(folder / "vectors", folder / "index", corpus=DOCUMENTS, n_threads=1).close()
    return folder / "index"


def write_beir(folder: Path, name: str = "small") -> Path:
    """Write the collection as a BEIR folder and return it."""
    import json

    root = folder / name
    (root / "qrels").mkdir(parents=True)
    corpus = [{"_id": d.doc_id, "title": d.title, "text": d.text} for d in DOCUMENTS]
    queries = [{"_id": q.query_id, "text": q.text} for q in QUERIES]
    for file, records in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        (root / file).write_text("".join(json.dumps(r) + "\n" for r in records))
    lines = [
        "query-id\tcorpus-id\tscore",
        *(f"{q.query_id}\t{q.doc_id}\t{q.relevance}" for q in QRELS),
    ]
    (root / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return root
