"""What a collection is made of: documents, queries, judgements, results.

Field names follow the TREC tools, so that a reader of ir-datasets or ir-measures knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Document", "Qrel", "Query", "Run", "ScoredDoc"]


class Document(NamedTuple):
    """A document: what is encoded is `title` and `text`; `metadata` is carried along."""

    doc_id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = {}

    @property
    def content(self) -> str:
        """Title and text as one string, the title first, as BEIR's own code joins them."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


class Query(NamedTuple):
    """A query."""

    query_id: str
    text: str


class Qrel(NamedTuple):
    """A relevance judgement; 0 and below is not relevant."""

    query_id: str
    doc_id: str
    relevance: int
    iteration: str = "0"


class ScoredDoc(NamedTuple):
    """One line of a run."""

    query_id: str
    doc_id: str
    score: float


Run: TypeAlias = Iterable[ScoredDoc]
