"""Which pieces of a document's text belong to the terms of a query: character offsets, never HTML.

Where the collection kept positions (``lsr encode --positions``), a term's piece is its *origin*: the
token that gave the term its weight, so that even a term the text does not show points at the words
it comes from. Otherwise, and for terms that come from no piece of text, the pieces that *show* the
term are given, as the query's encoder splits the text (`QueryEncoder.spans`); a term that the
document's encoder added has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np

from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Int32Array
from lsr.encoders.base import QueryEncoder, Span

__all__ = [
    "FIELDS",
    "Highlight",
    "ShownTerms",
    "find_highlights",
    "find_origins",
    "find_shown",
    "places_by_term",
]

ShownTerms: TypeAlias = dict[int, list[tuple[int, int]]]
"""The terms that a text shows, with start and end of the pieces that show each."""

FIELDS = ("title", "text")
"""The text fields of a document, in reading order."""


class Highlight(NamedTuple):
    """``document.<field>[start:end]`` belongs to `term`; offsets count code points.

    `origin` is true where the piece gave the term its weight, false where it shows the term.
    """

    field: str
    start: int
    end: int
    term: int
    origin: bool = False


def places_by_term(spans: Iterable[Span]) -> ShownTerms:
    """Return the pieces of a text by the term they stand for."""
    places: ShownTerms = {}
    for span in spans:
        places.setdefault(span.term, []).append((span.start, span.end))
    return places


def find_shown(encoder: QueryEncoder, document: Document, terms: Iterable[int]) -> list[Highlight]:
    """Return the pieces of a document that show one of `terms`, in reading order."""
    wanted = frozenset(int(term) for term in terms)
    found = []
    for field in FIELDS:
        spans = encoder.spans(getattr(document, field))
        found += [Highlight(field, s.start, s.end, s.term) for s in spans if s.term in wanted]
    return found


def find_origins(
    document: Document, terms: Iterable[int], origins: tuple[Int32Array, Origins]
) -> list[Highlight]:
    """Return the piece that each of `terms` comes from, in reading order.

    Parameters
    ----------
    document : Document
    terms : iterable of int
        What the document lacks, or has from no piece of text, is passed over.
    origins : (int32 array, Origins)
        The document's terms, ascending, and the pieces of its `content` behind them.
    """
    of_document, pieces = origins
    wanted = np.fromiter(terms, dtype=np.int64)
    at = np.searchsorted(of_document, wanted)
    at = at[at < len(of_document)]
    at = at[np.isin(of_document[at], wanted)]
    found = [
        _in_fields(document, int(pieces.starts[i]), int(pieces.ends[i]), int(of_document[i]))
        for i in at.tolist()
        if pieces.ends[i] > pieces.starts[i]
    ]
    return sorted(found, key=_reading_order)


def _in_fields(document: Document, start: int, end: int, term: int) -> Highlight:
    """Return where in a field a piece of ``document.content`` stands."""
    if not document.title:
        return Highlight("text", start, end, term, origin=True)
    # The content is title and text with a space between, stripped.
    joined = f"{document.title} {document.text}"
    shift = len(joined) - len(joined.lstrip())
    start, end = start + shift, end + shift
    title = len(document.title)
    if start < title:
        return Highlight("title", start, min(end, title), term, origin=True)
    behind = title + 1
    return Highlight("text", max(start, behind) - behind, end - behind, term, origin=True)


def _reading_order(highlight: Highlight) -> tuple[int, int, int, int]:
    return FIELDS.index(highlight.field), highlight.start, highlight.end, highlight.term


def find_highlights(shown: Iterable[Highlight], origins: Iterable[Highlight]) -> list[Highlight]:
    """Return the origin of every term that has one, and the pieces that show the others."""
    of_terms = list(origins)
    have = {highlight.term for highlight in of_terms}
    others = [highlight for highlight in shown if highlight.term not in have]
    return sorted([*of_terms, *others], key=_reading_order)
