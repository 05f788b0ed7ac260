"""Pruning of vectors while encoding: the lightest terms of a document go."""

from __future__ import annotations

import numpy as np

from lsr.core.errors import ArgumentError
from lsr.core.sparse import BoolArray, Float32Array, SparseMatrix

__all__ = ["heaviest", "prune", "select"]


def prune(
    matrix: SparseMatrix, *, max_active_dims: int | None = None, min_weight: float = 0.0
) -> SparseMatrix:
    """Return `matrix` without its lightest weights.

    Parameters
    ----------
    matrix : SparseMatrix
        One row a text; not changed.
    max_active_dims : int, optional
        Keep at most so many terms a row, the heaviest (ties: the smaller term stays).
    min_weight : float
        Drop weights below it.

    Raises
    ------
    ArgumentError
        If `max_active_dims` is below 1 or `min_weight` below 0.
    """
    if max_active_dims is not None and max_active_dims < 1:
        raise ArgumentError(f"max_active_dims must be at least 1, got {max_active_dims}.")
    if min_weight < 0:
        raise ArgumentError(f"min_weight must not be negative, got {min_weight}.")
    keep = matrix.weights >= np.float32(min_weight)
    if max_active_dims is not None:
        keep &= heaviest(matrix, matrix.weights, max_active_dims)
    return select(matrix, keep)


def heaviest(matrix: SparseMatrix, values: Float32Array, n: int) -> BoolArray:
    """Return which entries are among the `n` of their row with the largest values.

    Parameters
    ----------
    matrix : SparseMatrix
        The rows.
    values : float32, shape (nnz,)
        What entries are compared by; of equal ones the smaller terms are taken.
    n : int
        At least 1.

    Returns
    -------
    bool, shape (nnz,)
    """
    if not matrix.nnz or int(np.diff(matrix.indptr).max()) <= n:
        return np.ones(matrix.nnz, dtype=np.bool_)
    rows = np.repeat(np.arange(matrix.n_rows), np.diff(matrix.indptr))
    # Rank of every entry in its row by falling value; lexsort is stable, so ties keep order.
    order = np.lexsort((-values, rows))
    rank = np.empty(matrix.nnz, dtype=np.int64)
    rank[order] = np.arange(matrix.nnz) - matrix.indptr[rows[order]]
    return rank < n


def select(matrix: SparseMatrix, keep: BoolArray) -> SparseMatrix:
    """Return `matrix` with the entries for which `keep`, of shape (nnz,), is true."""
    if keep.all():
        return matrix
    kept = np.zeros(matrix.nnz + 1, dtype=np.int64)
    np.cumsum(keep, out=kept[1:])
    return SparseMatrix(kept[matrix.indptr], matrix.terms[keep], matrix.weights[keep], matrix.shape)
