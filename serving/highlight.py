"""Where a document's text shows the terms of a query: character offsets, never HTML.

The encoder knows which pieces of a text stand for a term (`QueryEncoder.spans`). Terms that a
model added to a document have no piece of text, so they are never marked: a page lists them
beside the text instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lsr.core.records import Document
from lsr.encoders.base import QueryEncoder

__all__ = ["FIELDS", "Highlight", "find_highlights"]

FIELDS = ("title", "text")
"""The text fields of a document, in reading order."""


class Highlight(NamedTuple):
    """``document.<field>[start:end]`` stands for `term`; offsets count code points."""

    field: str
    start: int
    end: int
    term: int


def find_highlights(
    encoder: QueryEncoder, document: Document, terms: Iterable[int]
) -> list[Highlight]:
    """Return the pieces of a document that stand for one of `terms`, in reading order."""
    wanted = frozenset(int(term) for term in terms)
    found = []
    for field in FIELDS:
        spans = encoder.spans(getattr(document, field))
        found += [Highlight(field, s.start, s.end, s.term) for s in spans if s.term in wanted]
    return found
