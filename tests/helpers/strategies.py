"""Hypothesis strategies for sparse vectors and matrices."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lsr.core.sparse import SparseMatrix, SparseVector

__all__ = ["random_matrix", "sparse_matrices", "sparse_vectors", "weights"]

# Quarters in a small range: sums are exact in float32, so ties are real ties everywhere.
weights = st.integers(1, 64).map(lambda n: n / 4)


@st.composite
def sparse_vectors(draw: st.DrawFn, size: int, max_nnz: int = 12) -> SparseVector:
    terms = draw(st.sets(st.integers(0, size - 1), max_size=min(size, max_nnz)))
    values = draw(st.lists(weights, min_size=len(terms), max_size=len(terms)))
    return SparseVector.from_arrays(sorted(terms), values, size)


@st.composite
def sparse_matrices(
    draw: st.DrawFn, size: int, min_rows: int = 0, max_rows: int = 24, max_nnz: int = 12
) -> SparseMatrix:
    n_rows = draw(st.integers(min_rows, max_rows))
    rows = [draw(sparse_vectors(size, max_nnz)) for _ in range(n_rows)]
    return SparseMatrix.from_rows(rows, size)


def random_matrix(
    rng: np.random.Generator, n_rows: int, size: int, mean_nnz: float
) -> SparseMatrix:
    """Return a matrix with Poisson row lengths, Zipf-like terms and log-normal weights."""
    rows = []
    popularity = 1.0 / np.arange(1, size + 1)
    popularity /= popularity.sum()
    for length in rng.poisson(mean_nnz, n_rows):
        terms = rng.choice(size, min(int(length), size), replace=False, p=popularity)
        rows.append(SparseVector.from_arrays(terms, rng.lognormal(-0.5, 0.6, len(terms)), size))
    return SparseMatrix.from_rows(rows, size)
