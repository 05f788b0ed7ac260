"""Where a system cuts its texts: a figure is not comparable without it."""

from __future__ import annotations

from eval.results import Truncation
from lsr.data.vectors import VectorCollection
from lsr.encoders.base import QueryEncoder
from lsr.encoders.limits import text_limits

__all__ = ["truncation_of"]


def truncation_of(encoder: QueryEncoder, vectors: VectorCollection | None = None) -> Truncation:
    """Return how long the texts are that an encoder reads; lexical ones read all.

    Parameters
    ----------
    encoder : QueryEncoder
        One or both sides.
    vectors : VectorCollection, optional
        What the document side made, if `encoder` is the query side alone.
    """
    limits = text_limits(encoder)
    documents = limits.document_tokens
    if vectors is not None:
        documents = vectors.manifest.details.get("document_tokens", documents)
    return Truncation(query_tokens=limits.query_tokens, document_tokens=documents)
