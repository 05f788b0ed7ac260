"""What the engine answers with."""

from __future__ import annotations

from dataclasses import dataclass

from indexing.explain import Explanation
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from serving.highlight import Highlight

__all__ = ["Answer", "Comparison", "Detail", "EncodedText", "Hit", "Times"]


@dataclass(frozen=True, slots=True)
class Detail:
    """What an answer carries beside identifiers and scores."""

    documents: bool = True
    highlights: bool = False
    explanation: bool = False
    comparison: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One result; what was not asked for is None.

    `highlights` come with an explanation too: they tell which terms the text shows.
    """

    rank: int
    doc_id: str
    score: float
    document: Document | None = None
    highlights: list[Highlight] | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds by stage; `fetch` is documents, highlights and explanations."""

    encode: float
    search: float
    fetch: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A result beside that of exhaustive search.

    Attributes
    ----------
    overlap : float
        Share of the exact top k that was found.
    missed : list of str
        The exact top k's documents that were not found, best first.
    ms : float
        Time of the exhaustive search.
    """

    overlap: float
    missed: list[str]
    ms: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of one query, and the query as it was searched for."""

    query: SparseVector
    hits: list[Hit]
    times: Times
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text's vector, and for each of its terms the pieces of text that stand for it."""

    vector: SparseVector
    spans: dict[int, list[tuple[int, int]]]
