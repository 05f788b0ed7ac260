"""Which encoders can tell where a weight comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lsr.core.errors import EncoderError
from lsr.core.origins import Origins
from lsr.core.sparse import SparseMatrix
from lsr.encoders.parts import document_part

__all__ = ["EncodeWithOrigins", "tracing"]


class EncodeWithOrigins(Protocol):
    """`TracingEncoder.encode_with_origins` of some encoder."""

    def __call__(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return vectors, and the piece of text behind each entry."""


def tracing(encoder: object) -> EncodeWithOrigins:
    """Return an encoder's `encode_with_origins`.

    Raises
    ------
    EncoderError
        If it, or the part of it that reads documents, has none: what it weighs stands in the
        text, or it has no document side.
    """
    found: EncodeWithOrigins | None = getattr(encoder, "encode_with_origins", None)
    if found is None or not hasattr(document_part(encoder), "encode_with_origins"):
        name = getattr(encoder, "name", type(encoder).__name__)
        raise EncoderError(
            f"The encoder {name!r} keeps no positions.",
            hint="Only models that weigh by position do. Without positions the words of the text "
            "itself are marked, which is all there is to mark for a lexical encoder.",
        )
    return found
