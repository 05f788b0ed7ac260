"""What an encoder is put together from: which part of it reads queries, and which documents."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["document_part", "query_part"]


def query_part(encoder: object) -> object:
    """Return the innermost part that reads an encoder's queries: itself, if it has no parts.

    Of an encoder with a lexical channel, that is the learned part's.
    """
    return _innermost(encoder, ("query", "learned"))


def document_part(encoder: object) -> object:
    """Return the innermost part that reads an encoder's documents: itself, if it has no parts."""
    return _innermost(encoder, ("document", "encoder", "learned"))


def _innermost(encoder: object, names: Sequence[str]) -> object:
    for name in names:
        part = getattr(encoder, name, None)
        if part is not None:
            return _innermost(part, names)
    return encoder
