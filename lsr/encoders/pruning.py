"""Pruning of vectors while encoding: the lightest terms of a document go."""

from __future__ import annotations

import numpy as np

from lsr.core.errors import ArgumentError
from lsr.core.sparse import SparseMatrix

__all__ = ["prune"]


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
    rows = np.repeat(np.arange(matrix.n_rows), np.diff(matrix.indptr))
    if max_active_dims is not None and matrix.nnz:
        # Rank of every entry in its row by falling weight; lexsort is stable, so ties keep order.
        order = np.lexsort((-matrix.weights, rows))
        rank = np.empty(matrix.nnz, dtype=np.int64)
        rank[order] = np.arange(matrix.nnz) - matrix.indptr[rows[order]]
        keep &= rank < max_active_dims
    if keep.all():
        return matrix
    indptr = np.zeros(matrix.n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows[keep], minlength=matrix.n_rows), out=indptr[1:])
    return SparseMatrix(indptr, matrix.terms[keep], matrix.weights[keep], matrix.shape)
