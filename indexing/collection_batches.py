"""What is written to a live collection: documents with their vectors, checked before they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from indexing.collection_head import HeadRow
from indexing.dense_flat import check_dense
from indexing.filters_fields import FieldValues, field_values
from indexing.live_rows import PreparedDocument, Widths, prepare
from lsr.core.errors import DataError
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, SparseMatrix, SparseVector

__all__ = ["Batch", "CheckedRow", "DenseVectors", "checked_rows", "values_of"]


DenseVectors: TypeAlias = Float32Array | Sequence[Float32Array | Sequence[float]]


class Batch(NamedTuple):
    """Documents and what is known of them, row by row.

    Attributes
    ----------
    documents : sequence of Document
    vectors : SparseMatrix or sequence of SparseVector
    origins : sequence of bytes, optional
        Where they were kept, packed (`lsr.core.origins`); empty where one document has none.
    dense : float32, shape (n, width), or a sequence of rows of numbers, optional
        For a collection with a dense half.
    """

    documents: Sequence[Document]
    vectors: SparseMatrix | Sequence[SparseVector]
    origins: Sequence[bytes] | None = None
    dense: DenseVectors | None = None


class CheckedRow(NamedTuple):
    """A document that may be written."""

    document: Document
    vector: SparseVector
    dense: Float32Array | None
    stored: PreparedDocument

    def numbered(self, number: int, fields: FieldValues) -> HeadRow:
        """Return it as the head and a segment take it."""
        return HeadRow(number, self.document.doc_id, fields, self.vector, self.dense)


def checked_rows(batch: Batch, widths: Widths) -> list[CheckedRow]:
    """Return the rows of a batch in stored form; of two with one id the later.

    Raises
    ------
    DataError, WeightError
        If a document or one of its vectors breaks a rule, or a dense vector is missing, or there
        is one that the collection has no place for.
    """
    documents, vectors, origins, dense = batch
    if len(vectors) != len(documents):
        raise DataError(f"{len(documents)} documents but {len(vectors)} vectors.")
    if origins is not None and len(origins) != len(documents):
        raise DataError(f"{len(documents)} documents but {len(origins)} origins.")
    if not isinstance(vectors, SparseMatrix):
        vectors = SparseMatrix.from_rows(vectors, widths.sparse)
    if vectors.size != widths.sparse:
        raise DataError(f"The vectors have {vectors.size} columns, the collection {widths.sparse}.")
    vectors.check()
    rows_of_dense = _checked_dense(dense, documents, widths)
    last = {document.doc_id: at for at, document in enumerate(documents)}
    rows = []
    for at in sorted(last.values()):
        vector = vectors.row(at)
        of_row = origins[at] if origins is not None else b""
        near = rows_of_dense[at] if rows_of_dense is not None else None
        stored = prepare(documents[at], vector, of_row, near)
        rows.append(CheckedRow(documents[at], vector, near, stored))
    return rows


def _checked_dense(
    dense: DenseVectors | None,
    documents: Sequence[Document],
    widths: Widths,
) -> Float32Array | None:
    if not widths.dense:
        if dense is not None:
            raise DataError(
                "The documents have dense vectors, but the collection has no dense half.",
                hint="Leave them out, or make a collection with one: lsr index create --dense.",
            )
        return None
    if dense is None:
        raise DataError(
            f"The collection has a dense half: every document needs a dense vector of "
            f"{widths.dense} numbers.",
            hint="Without one hybrid searches would miss it.",
        )
    return check_dense(dense, widths.dense, [d.doc_id for d in documents])


def values_of(
    rows: Sequence[CheckedRow], types: Mapping[str, str]
) -> tuple[list[FieldValues], dict[str, str]]:
    """Return the metadata of rows in comparable form, and the types of their new fields.

    Raises
    ------
    DataError
        If a value is not of its field's type.
    """
    new: dict[str, str] = {}
    values = [field_values(row.document.doc_id, row.document.metadata, types, new) for row in rows]
    return values, new
