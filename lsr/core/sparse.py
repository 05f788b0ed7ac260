"""Sparse vectors and matrices in one canonical form, and their bridge to scipy.

Canonical form: the terms of a row ascend, none twice, every weight is finite and greater than 0,
arrays are C-contiguous. It is checked once, where data comes in; everything behind relies on it.
Rows are documents or queries, columns are vocabulary positions (*terms*).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.core.errors import ArgumentError, DataError, WeightError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "BoolArray",
    "Float16Array",
    "Float32Array",
    "Int32Array",
    "Int64Array",
    "SparseMatrix",
    "SparseVector",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "hstack",
    "vstack",
]

BoolArray: TypeAlias = NDArray[np.bool_]
Float16Array: TypeAlias = NDArray[np.float16]
Float32Array: TypeAlias = NDArray[np.float32]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
UInt8Array: TypeAlias = NDArray[np.uint8]
UInt16Array: TypeAlias = NDArray[np.uint16]
UInt32Array: TypeAlias = NDArray[np.uint32]
UInt64Array: TypeAlias = NDArray[np.uint64]


def _check_weights(weights: Float32Array, what: str) -> None:
    if weights.size == 0:
        return
    bad = ~(np.isfinite(weights) & (weights > 0))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise WeightError(
            f"{what}: weight {at} is {float(weights[at])!r}; weights must be finite and > 0.",
            hint="Drop zeros, and look for NaN or negative values in what produced the vector.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """One document or query as weighted terms.

    Attributes
    ----------
    terms : int32, shape (nnz,)
        Vocabulary positions, ascending.
    weights : float32, shape (nnz,)
        Finite and greater than 0.
    size : int
        Vocabulary size.
    """

    terms: Int32Array
    weights: Float32Array
    size: int

    @classmethod
    def from_arrays(cls, terms: Any, weights: Any, size: int) -> SparseVector:
        """Return the canonical vector of `terms` and `weights`, in any order; zeros are dropped.

        Raises
        ------
        DataError
            If a term is outside ``[0, size)`` or stands twice, or the lengths differ.
        WeightError
            If a weight is negative, infinite or NaN.
        """
        t = np.asarray(terms, dtype=np.int64).reshape(-1)
        w = np.asarray(weights, dtype=np.float32).reshape(-1)
        if len(t) != len(w):
            raise DataError(f"A sparse vector has {len(t)} terms but {len(w)} weights.")
        nonzero = w != 0
        t, w = t[nonzero], w[nonzero]
        order = np.argsort(t, kind="stable")
        t, w = t[order], np.ascontiguousarray(w[order])
        if len(t) and (t[0] < 0 or t[-1] >= size):
            raise DataError(
                f"Term {int(t[0] if t[0] < 0 else t[-1])} is outside the vocabulary of {size} terms."
            )
        if len(t) > 1 and (np.diff(t) == 0).any():
            twice = int(t[:-1][np.diff(t) == 0][0])
            raise DataError(f"Term {twice} stands twice in one sparse vector.")
        _check_weights(w, "Sparse vector")
        return cls(np.ascontiguousarray(t, dtype=np.int32), w, int(size))

    @classmethod
    def from_mapping(cls, weights: Mapping[int, float], size: int) -> SparseVector:
        """Return the vector of a ``{term: weight}`` mapping."""
        return cls.from_arrays(list(weights.keys()), list(weights.values()), size)

    @property
    def nnz(self) -> int:
        """Number of terms with a weight."""
        return len(self.terms)

    def dot(self, other: SparseVector) -> float:
        """Return the inner product with `other`, summed in float64."""
        _, mine, theirs = np.intersect1d(
            self.terms, other.terms, assume_unique=True, return_indices=True
        )
        return float(
            np.dot(self.weights[mine].astype(np.float64), other.weights[theirs].astype(np.float64))
        )

    def top(self, n: int) -> SparseVector:
        """Return the `n` heaviest terms (ties: the smaller term stays)."""
        if self.nnz <= n:
            return self
        keep = np.sort(np.argsort(-self.weights, kind="stable")[:n])
        return SparseVector(self.terms[keep], self.weights[keep], self.size)

    def __len__(self) -> int:
        return self.nnz

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseVector):
            return NotImplemented
        return (
            self.size == other.size
            and np.array_equal(self.terms, other.terms)
            and np.array_equal(self.weights, other.weights)
        )


@dataclass(frozen=True, slots=True, eq=False)
class SparseMatrix:
    """Rows of sparse vectors in compressed form (CSR).

    Attributes
    ----------
    indptr : int64, shape (n_rows + 1,)
        Row `r` is ``indptr[r]:indptr[r + 1]`` of `terms` and `weights`.
    terms : int32, shape (nnz,)
        Vocabulary positions, ascending in a row.
    weights : float32, shape (nnz,)
        Finite and greater than 0.
    shape : (int, int)
        Rows, vocabulary size.
    """

    indptr: Int64Array
    terms: Int32Array
    weights: Float32Array
    shape: tuple[int, int]

    @classmethod
    def from_scipy(cls, matrix: Any) -> SparseMatrix:
        """Return the canonical form of any scipy sparse matrix or array (copied if need be).

        Explicit zeros are dropped and duplicates summed, as scipy defines them.

        Raises
        ------
        WeightError
            If a weight is negative, infinite or NaN.
        """
        from scipy.sparse import csr_array

        csr = csr_array(matrix, dtype=np.float32)
        if not csr.has_canonical_format or (csr.data == 0).any():
            csr = csr.copy()
            csr.sum_duplicates()
            csr.eliminate_zeros()
        n_rows, size = csr.shape
        made = cls(
            np.ascontiguousarray(csr.indptr, dtype=np.int64),
            np.ascontiguousarray(csr.indices, dtype=np.int32),
            np.ascontiguousarray(csr.data, dtype=np.float32),
            (int(n_rows), int(size)),
        )
        _check_weights(made.weights, "Sparse matrix")
        return made

    @classmethod
    def from_rows(cls, rows: Iterable[SparseVector], size: int) -> SparseMatrix:
        """Return the matrix of canonical vectors, in their order.

        Raises
        ------
        DataError
            If a vector's size differs from `size`.
        """
        vectors = list(rows)
        for at, vector in enumerate(vectors):
            if vector.size != size:
                raise DataError(f"Row {at} has vocabulary size {vector.size}, expected {size}.")
        if len(vectors) == 1:  # what a single query is: nothing to put together
            (only,) = vectors
            return cls(np.array([0, only.nnz], np.int64), only.terms, only.weights, (1, int(size)))
        indptr = np.zeros(len(vectors) + 1, dtype=np.int64)
        np.cumsum([v.nnz for v in vectors], out=indptr[1:])
        empty_t, empty_w = np.empty(0, np.int32), np.empty(0, np.float32)
        terms = np.concatenate([v.terms for v in vectors]) if vectors else empty_t
        weights = np.concatenate([v.weights for v in vectors]) if vectors else empty_w
        return cls(indptr, terms, weights, (len(vectors), int(size)))

    @classmethod
    def empty(cls, size: int) -> SparseMatrix:
        """Return a matrix without rows."""
        return cls(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), (0, size))

    def to_scipy(self) -> csr_array:
        """Return a ``scipy.sparse.csr_array`` that shares this matrix's memory where it can."""
        from scipy.sparse import csr_array

        return csr_array((self.weights, self.terms, self.indptr), shape=self.shape)

    def check(self) -> SparseMatrix:
        """Return `self` if it is in canonical form.

        Raises
        ------
        DataError
            If lengths, order or term range are off.
        WeightError
            If a weight is not finite and > 0.
        """
        n_rows, size = self.shape
        if len(self.indptr) != n_rows + 1 or (n_rows >= 0 and int(self.indptr[0]) != 0):
            raise DataError(f"indptr has {len(self.indptr)} entries for {n_rows} rows.")
        if (np.diff(self.indptr) < 0).any() or int(self.indptr[-1]) != len(self.terms):
            raise DataError("indptr does not ascend to the number of terms.")
        if len(self.terms) != len(self.weights):
            raise DataError(f"{len(self.terms)} terms but {len(self.weights)} weights.")
        if len(self.terms):
            if int(self.terms.min()) < 0 or int(self.terms.max()) >= size:
                raise DataError(f"A term is outside the vocabulary of {size} terms.")
            rising = np.diff(self.terms) > 0
            starts = self.indptr[1:-1]
            rising[starts[(starts > 0) & (starts < len(self.terms))] - 1] = True
            if not rising.all():
                raise DataError("The terms of a row must ascend, none twice.")
        _check_weights(self.weights, "Sparse matrix")
        return self

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def size(self) -> int:
        """Vocabulary size."""
        return self.shape[1]

    @property
    def nnz(self) -> int:
        """Number of stored weights."""
        return len(self.terms)

    def row(self, row: int) -> SparseVector:
        """Return row `row` as a view.

        Raises
        ------
        ArgumentError
            If there is no such row.
        """
        if not 0 <= row < self.n_rows:
            raise ArgumentError(f"Row {row} is outside a matrix of {self.n_rows} rows.")
        at = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        return SparseVector(self.terms[at], self.weights[at], self.size)

    def rows(self, start: int, stop: int) -> SparseMatrix:
        """Return the rows ``start:stop`` as a view."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        return SparseMatrix(
            self.indptr[start : stop + 1] - low,
            self.terms[low:high],
            self.weights[low:high],
            (stop - start, self.size),
        )

    def take(self, order: Sequence[int] | Int64Array | Int32Array) -> SparseMatrix:
        """Return the rows named by `order`, in that order (copied)."""
        indptr, at = self.entries(order)
        return SparseMatrix(indptr, self.terms[at], self.weights[at], (len(indptr) - 1, self.size))

    def entries(
        self, order: Sequence[int] | Int64Array | Int32Array
    ) -> tuple[Int64Array, Int64Array]:
        """Return the `indptr` of the rows named by `order`, and where their entries stand here."""
        chosen = np.asarray(order, dtype=np.int64)
        lengths = np.diff(self.indptr)[chosen]
        indptr = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        at = np.arange(int(indptr[-1]), dtype=np.int64)
        at += np.repeat(self.indptr[chosen] - indptr[:-1], lengths)
        return indptr, at

    def __iter__(self) -> Iterator[SparseVector]:
        for row in range(self.n_rows):
            yield self.row(row)

    def __len__(self) -> int:
        return self.n_rows

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseMatrix):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.terms, other.terms)
            and np.array_equal(self.weights, other.weights)
        )


def hstack(left: SparseMatrix, right: SparseMatrix) -> SparseMatrix:
    """Return the rows of `left`, each with the same row of `right` behind it.

    The terms of `right` follow those of `left`: its term 0 becomes ``left.size``.

    Raises
    ------
    DataError
        If the numbers of rows differ.
    """
    if left.n_rows != right.n_rows:
        raise DataError(f"Cannot put {left.n_rows} and {right.n_rows} rows side by side.")
    indptr, shape = left.indptr + right.indptr, (left.n_rows, left.size + right.size)
    behind = right.terms + np.int32(left.size)
    if left.n_rows == 1:  # what a single query is
        parts = [left.terms, behind], [left.weights, right.weights]
        return SparseMatrix(indptr, np.concatenate(parts[0]), np.concatenate(parts[1]), shape)
    lengths = np.column_stack([np.diff(left.indptr), np.diff(right.indptr)]).ravel()
    of_left = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
    terms = np.empty(len(of_left), np.int32)
    weights = np.empty(len(of_left), np.float32)
    terms[of_left], weights[of_left] = left.terms, left.weights
    terms[~of_left], weights[~of_left] = behind, right.weights
    return SparseMatrix(indptr, terms, weights, shape)


def vstack(parts: Iterable[SparseMatrix], size: int) -> SparseMatrix:
    """Return the rows of `parts`, one after another.

    Raises
    ------
    DataError
        If vocabulary sizes differ.
    """
    matrices = list(parts)
    for matrix in matrices:
        if matrix.size != size:
            raise DataError(f"Cannot stack vocabulary sizes {matrix.size} and {size}.")
    if not matrices:
        return SparseMatrix.empty(size)
    lengths = np.concatenate([np.diff(m.indptr) for m in matrices])
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return SparseMatrix(
        indptr,
        np.concatenate([m.terms for m in matrices]),
        np.concatenate([m.weights for m in matrices]),
        (len(lengths), size),
    )
