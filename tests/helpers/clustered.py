"""What tests of the clustered kernels share: scratch, and the sums of an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from indexing.clustered import ClusteredIndex
from indexing.config_clustered import ClusteredLayout
from indexing.jit import read_only
from indexing.kernels_arrays import Candidates, Maxima, Query, Sums, Terms
from indexing.kernels_query import MAX_TERMS, largest_score
from lsr.core.sparse import SparseMatrix, SparseVector

__all__ = [
    "candidates_for",
    "make_sums",
    "maxima_of",
    "query_of",
    "sums_for",
    "terms_scratch",
    "two_chunks",
    "unit",
]


def terms_scratch(n_terms: int) -> Terms:
    """Return scratch for the terms of a query."""
    return Terms(
        rows=np.empty(MAX_TERMS, np.int64),
        weights=np.empty(MAX_TERMS, np.uint16),
        tables=np.empty(16 * MAX_TERMS, np.uint8),
        coarse=np.zeros(n_terms, np.uint8),
        fine=np.zeros(n_terms, np.float32),
    )


def candidates_for(n_blocks: int) -> Candidates:
    """Return scratch for as many blocks."""
    return Candidates(
        blocks=np.zeros(n_blocks, np.uint32),
        estimates=np.zeros(n_blocks, np.uint16),
        order=np.zeros(n_blocks, np.uint32),
        counts=np.zeros(257, np.int64),
    )


def make_sums(n_blocks: int, dtype: Any) -> Sums:
    """Return sums that hold anything."""
    return Sums(*(np.full(n_blocks // size, 9, dtype) for size in (1, 8, 64)))


def query_of(query: SparseVector) -> Query:
    """Return a query as kernels take it."""
    return Query(read_only(query.terms), read_only(query.weights))


def maxima_of(index: ClusteredIndex, level: int = 0) -> Maxima:
    """Return the maxima of the blocks (0) or of the wide blocks (1) of an index."""
    return Maxima(*index._parts.arguments()[1 + level])


def unit(index: ClusteredIndex, query: SparseVector, units: float) -> float:
    """Return the scale with which all terms of a query make `units`; 0 if they have no score."""
    bound = float(largest_score(query_of(query), np.float32(0), maxima_of(index).term_max))
    return units / bound if bound else 0.0


def sums_for(
    kernel: Callable[..., None], index: ClusteredIndex, query: SparseVector, *options: Any
) -> Sums:
    """Return what `bound_blocks` or `estimate_blocks` (or a twin) writes for an index."""
    dtype = np.uint16 if "bound" in kernel.__name__ else np.uint8
    sums = make_sums(2 * index._parts.blocks.dense.shape[1], dtype)
    kernel(query_of(query), maxima_of(index), *options, terms_scratch(query.size), sums)
    return sums


def two_chunks(rng: np.random.Generator, n_terms: int) -> ClusteredIndex:
    """Return an index of 65,600 blocks (two chunks, 65 parts), one term a document."""
    n = 4 * 65_600
    terms = (n_terms * rng.random(n) ** 2).astype(np.int32)
    weights = rng.uniform(0.5, 2, n).astype(np.float32)
    matrix = SparseMatrix(np.arange(n + 1), terms, weights, (n, n_terms))
    layout = ClusteredLayout(dense_share=0.12, regroup_rows=0, n_iterations=1, n_dimensions=8)
    index = ClusteredIndex.from_matrix(matrix, layout, n_threads=2)
    has_row = index._parts.blocks.dense_row >= 0
    assert has_row.any()
    assert not has_row.all()
    return index
