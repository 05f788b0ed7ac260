"""What the engine answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from indexing.explain import Explanation
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Int32Array, SparseVector
from serving.highlight import Highlight, ShownTerms

__all__ = [
    "Answer",
    "Comparison",
    "Detail",
    "EncodedText",
    "Found",
    "Hit",
    "HitParts",
    "HybridPlace",
    "Part",
    "Times",
]


@dataclass(frozen=True, slots=True)
class Detail:
    """What an answer carries beside identifiers and scores."""

    documents: bool = True
    highlights: bool = False
    explanation: bool = False
    comparison: bool = False


class Part(NamedTuple):
    """What one half of a hybrid search gave to a document.

    Attributes
    ----------
    rank : int or None
        Among the candidates of the half; None if it is not among them.
    score : float or None
        The half's own.
    share : float
        Of the fused score.
    """

    rank: int | None
    score: float | None
    share: float


class HitParts(NamedTuple):
    """What both halves gave; the shares sum to the score."""

    sparse: Part
    dense: Part


class Found(NamedTuple):
    """The best documents of one query, best first.

    Attributes
    ----------
    doc_ids : list of str
    scores : list of float
        All greater than 0, but for what only a dense half found.
    keys : list of int
        How the source calls these documents.
    documents : list of Document, optional
        Where they were asked for and are stored.
    parts : list of HitParts, optional
        Of a hybrid search.
    origins : list of (int32 array, Origins), optional
        Terms of each document's vector and the pieces of its text that they come from; None where
        that was not kept.
    """

    doc_ids: list[str]
    scores: list[float]
    keys: list[int]
    documents: list[Document] | None = None
    parts: list[HitParts] | None = None
    origins: list[tuple[Int32Array, Origins] | None] | None = None

    def beyond(self, offset: int) -> Found:
        """Return it without the first `offset` documents."""
        if not offset:
            return self
        return Found(
            self.doc_ids[offset:],
            self.scores[offset:],
            self.keys[offset:],
            None if self.documents is None else self.documents[offset:],
            None if self.parts is None else self.parts[offset:],
            None if self.origins is None else self.origins[offset:],
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """One result; what was not asked for is None.

    `shown` are the terms of the query that the document's text shows, where that can be known. The
    explanation is of the sparse score; `parts` tell what the halves of a hybrid search gave.
    """

    rank: int
    doc_id: str
    score: float
    document: Document | None = None
    highlights: list[Highlight] | None = None
    shown: frozenset[int] | None = None
    explanation: Explanation | None = None
    parts: HitParts | None = None


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
    spans: ShownTerms


class HybridPlace(NamedTuple):
    """One document in a hybrid search, found or not.

    Attributes
    ----------
    rank : int or None
        In the fused result; None if it is not among the best k.
    score : float
        The fused one; 0 if it is a candidate of neither half.
    parts : HitParts
        With both halves' own scores, candidate or not.
    """

    rank: int | None
    score: float
    parts: HitParts
