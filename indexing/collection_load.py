"""From an encoded collection, and its corpus, to batches that a live collection loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from indexing.collection import Batch
from indexing.source import row_chunks
from lsr.core.errors import DataError
from lsr.core.records import Document
from lsr.data.vectors import VectorCollection

__all__ = ["load_batches"]


def load_batches(
    vectors: VectorCollection, corpus: Iterable[Document] | None, n_rows: int
) -> Iterator[Batch]:
    """Yield the documents, vectors and origins of an encoded collection, `n_rows` at a time.

    Without a corpus the documents have an id only. The corpus may be in any order, but documents
    wait in memory until the vectors reach them; those without a vector are passed over.

    Raises
    ------
    DataError
        If the corpus lacks a document of the collection.
    """
    doc_ids = vectors.doc_ids()
    # Without a text there is nothing that an origin could point at.
    packed = vectors.origins() if vectors.has_origins and corpus is not None else None
    documents = iter(corpus) if corpus is not None else None
    waiting: dict[str, Document] = {}
    for matrix in row_chunks(vectors, n_rows):
        batch = []
        for _ in range(matrix.n_rows):
            doc_id = next(doc_ids)
            if documents is None:
                batch.append(Document(doc_id, ""))
                continue
            while doc_id not in waiting:
                document = next(documents, None)
                if document is None:
                    raise DataError(
                        f"The corpus lacks document {doc_id!r} of the encoded collection.",
                        hint="Pass the corpus that was encoded.",
                    )
                waiting[document.doc_id] = document
            batch.append(waiting.pop(doc_id))
        origins = list(islice(packed, matrix.n_rows)) if packed is not None else None
        yield Batch(batch, matrix, origins)
