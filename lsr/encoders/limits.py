"""How much of a text an encoder reads."""

from __future__ import annotations

from typing import NamedTuple

from lsr.encoders.parts import document_part, query_part

__all__ = ["TextLimits", "text_limits"]


class TextLimits(NamedTuple):
    """The longest text each side reads, in its own tokens; None: it reads all, or has no such side.

    A side that reads less than a text leaves the rest out, so a figure is not comparable without
    these.
    """

    query_tokens: int | None
    document_tokens: int | None


def text_limits(encoder: object) -> TextLimits:
    """Return the limits of an encoder, or of one side of it.

    With a lexical channel they are the learned part's: the channel reads all.
    """
    return TextLimits(
        _limit(query_part(encoder), "query_max_length"),
        _limit(document_part(encoder), "document_max_length"),
    )


def _limit(side: object, name: str) -> int | None:
    # Models have options for either side; a table of query weights has one length.
    options = getattr(side, "options", None)
    found = getattr(options, name, None)
    if found is None and name == "query_max_length":
        found = getattr(side, "max_length", None)
    return found if isinstance(found, int) else None
