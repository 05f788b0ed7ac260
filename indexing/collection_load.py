"""From an encoded collection, and its corpus, to batches that a live collection loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from indexing.collection import Batch
from indexing.dense_encoder import DenseTextEncoder
from indexing.source import row_chunks
from lsr.core.errors import ArgumentError, DataError
from lsr.core.records import Document
from lsr.core.sparse import Float32Array
from lsr.data.vectors import VectorCollection

__all__ = ["load_batches"]


def load_batches(
    vectors: VectorCollection,
    corpus: Iterable[Document] | None,
    n_rows: int,
    *,
    dense: DenseTextEncoder | Float32Array | None = None,
) -> Iterator[Batch]:
    """Yield the documents, vectors and origins of an encoded collection, `n_rows` at a time.

    Without a corpus the documents have an id only. The corpus may be in any order, but documents
    wait in memory until the vectors reach them; those without a vector are passed over.

    Parameters
    ----------
    dense : DenseTextEncoder or float32, shape (n, width), optional
        For a dense half: what encodes the documents, or the rows of the encoded collection's
        documents, in their order.

    Raises
    ------
    DataError
        If the corpus lacks a document of the collection, or there are not as many dense vectors as
        documents.
    ArgumentError
        If there is something to encode the documents, but no corpus.
    """
    if isinstance(dense, np.ndarray) and len(dense) != vectors.n_documents:
        raise DataError(f"{vectors.n_documents:,} documents but {len(dense):,} dense vectors.")
    if dense is not None and not isinstance(dense, np.ndarray) and corpus is None:
        raise ArgumentError(
            "The bi-encoder encodes the documents' texts, and there are none.",
            hint="Pass --corpus, or --dense-vectors made from it.",
        )
    doc_ids = vectors.doc_ids()
    # Without a text there is nothing that an origin could point at.
    packed = vectors.origins() if vectors.has_origins and corpus is not None else None
    documents = iter(corpus) if corpus is not None else None
    waiting: dict[str, Document] = {}
    first = 0
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
        rows: Float32Array | None = None
        if isinstance(dense, np.ndarray):
            rows = dense[first : first + matrix.n_rows]
        elif dense is not None:
            rows = dense.encode([document.content for document in batch])
        first += matrix.n_rows
        yield Batch(batch, matrix, origins, rows)
