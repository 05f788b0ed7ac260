"""Bounds and estimates are those of the twins, and a bound never understates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels_estimates
from indexing import reference_clustered as reference
from indexing.clustered import ClusteredIndex
from indexing.clustered_explain import block_estimate
from indexing.config_clustered import ClusteredLayout
from indexing.jit import COMPILED, read_only
from indexing.kernels_geometry import BLOCK_ROWS, slot_of
from lsr.core.sparse import SparseMatrix, SparseVector
from tests.helpers.clustered import sums_for, two_chunks, unit
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

SIZE = 30
FEW = 30 if COMPILED else 4


def compare(index: ClusteredIndex, query: SparseVector) -> None:
    cases = (
        ("bound_blocks", 65_535 - 16 * query.nnz, ()),
        ("estimate_blocks", 384, (np.float32(0),)),
        ("estimate_blocks", 384, (np.float32(np.median(query.weights)),)),
    )
    for name, units, threshold in cases:
        options = (*threshold, unit(index, query, units))
        got = sums_for(getattr(kernels_estimates, name), index, query, *options)
        expected = sums_for(getattr(reference, name), index, query, *options)
        for mine, theirs in zip(got, expected, strict=True):
            assert np.array_equal(mine, theirs), name


@settings(deadline=None, max_examples=FEW)
@given(
    sparse_matrices(SIZE, min_rows=1, max_rows=90),
    sparse_vectors(SIZE),
    st.sampled_from([1e-6, 0.2, 1.0]),
)
def test_bounds_and_estimates_are_those_of_the_twins(
    matrix: SparseMatrix, query: SparseVector, dense_share: float
) -> None:
    layout = ClusteredLayout(dense_share=dense_share, regroup_rows=0)
    index = ClusteredIndex.from_matrix(matrix, layout, n_threads=1)
    if unit(index, query, 1):
        compare(index, query)


def test_they_are_across_chunks(rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    index = two_chunks(rng, SIZE)
    compare(index, random_matrix(rng, 1, SIZE, 9).row(0))


@settings(deadline=None, max_examples=FEW)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=90), sparse_vectors(SIZE))
def test_a_bound_is_never_below_a_score(matrix: SparseMatrix, query: SparseVector) -> None:
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    scale = unit(index, query, 65_535 - 16 * query.nnz)
    if not scale:
        return
    blocks = index._parts.blocks
    sums = sums_for(kernels_estimates.bound_blocks, index, query, scale)
    for row in range(matrix.n_rows):
        score = query.dot(index.document(row))
        block = int(index._parts.positions[row]) // BLOCK_ROWS
        slot = int(slot_of(block, blocks.dense.shape[1]))
        assert sums.blocks[slot] >= score / float(index._inverse_scale) * scale - 1e-6
        assert block_estimate(blocks, query, block) * float(index._inverse_scale) >= score - 1e-6


def test_dense_rows_are_added_as_by_the_twin(rng: np.random.Generator) -> None:
    row_bytes, n_rows = 128, 6
    dense = read_only(rng.integers(0, 256, n_rows * row_bytes, dtype=np.uint8))
    rows = rng.permutation(n_rows).astype(np.int64)
    weights = rng.integers(0, 700, n_rows).astype(np.uint16)
    out = []
    for module in (kernels_estimates, reference):
        low, high = np.full(64, 3, np.uint16), np.full(64, 5, np.uint16)
        module.add_dense(low, high, dense, row_bytes, 32, 64, rows, weights, 5)  # type: ignore[attr-defined]
        out.append((low.tolist(), high.tolist()))
    assert out[0] == out[1]
