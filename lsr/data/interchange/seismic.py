"""Seismic's JSON lines: ``{"id": …, "content": text, "vector": {token: weight}}``.

Seismic leaves out documents without a term; here they are written, and its reader decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lsr.core.errors import DataError
from lsr.core.records import Document
from lsr.data.vector_jsonl import iter_rows, write_vectors_jsonl
from lsr.data.vectors import VectorCollection

__all__ = ["write_seismic"]


def write_seismic(
    collection: VectorCollection, path: Path, *, documents: Iterable[Document] | None = None
) -> int:
    """Write a collection for ``SeismicIndex.build`` and return the number of documents.

    Parameters
    ----------
    collection : VectorCollection
        What is written.
    path : Path
        The file; Seismic reads it plain (``.jsonl``).
    documents : iterable of Document, optional
        The encoded texts in the same order; without them ``content`` is empty.

    Raises
    ------
    DataError
        If `documents` are not those of the collection, in its order.
    """
    contents = _contents(collection, documents) if documents is not None else None

    def extra(doc_id: str) -> dict[str, str]:
        return {"content": "" if contents is None else next(contents)}

    return write_vectors_jsonl(
        iter_rows(collection), collection.vocabulary.tokens, path, extra=extra
    )


def _contents(collection: VectorCollection, documents: Iterable[Document]) -> Iterator[str]:
    source = iter(documents)
    for doc_id in collection.doc_ids():
        document = next(source, None)
        if document is None or document.doc_id != doc_id:
            seen = "no more documents" if document is None else f"document {document.doc_id!r}"
            raise DataError(
                f"The texts are not those of the vectors: expected document {doc_id!r}, got {seen}.",
                hint="Give the data set that was encoded.",
            )
        yield document.content
