"""Regrouping puts likes together, as its twins do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels_regrouping
from indexing import reference_ordering as reference
from indexing.jit import COMPILED, read_only
from lsr.core.sparse import SparseMatrix
from tests.helpers.strategies import sparse_matrices

SIZE = 30
FEW = 30 if COMPILED else 4


@settings(deadline=None, max_examples=FEW)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=20), st.integers(1, 5))
def test_regrouping_is_that_of_the_twin(matrix: SparseMatrix, group: int) -> None:
    n = matrix.n_rows
    out = []
    for module in (kernels_regrouping, reference):
        order = np.empty(n, np.int32)
        module.regroup_run(
            read_only(matrix.indptr),
            read_only(matrix.terms),
            read_only(matrix.weights),
            group,
            np.zeros(SIZE, np.float32),
            np.empty((n, n), np.float32),
            np.empty((n // group, n // group), np.float32),
            np.empty(n, np.float32),
            np.empty(n, np.uint8),
            np.empty((2, n), np.int32),
            order,
        )
        assert sorted(order.tolist()) == list(range(n))
        out.append(order)
    # Float32 and float64 break near ties apart, and a greedy order then goes its own way: what
    # must be the same is how alike the first pair is, the most alike of all.
    dense = matrix.to_scipy().toarray().astype(np.float64)
    norms = np.linalg.norm(dense, axis=1)
    cosine = dense @ dense.T / np.maximum(np.outer(norms, norms), 1e-12)
    np.fill_diagonal(cosine, 0)
    if group > 1 and n > 1:
        for order in out:
            starts = range(0, n, group)
            within = max(
                cosine[np.ix_(here, here)].max() for here in (order[s : s + group] for s in starts)
            )
            assert within == pytest.approx(cosine.max(), abs=1e-5)


@settings(deadline=None, max_examples=FEW)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**31))
def test_grouping_and_merging_are_those_of_the_twins(n: int, group: int, seed: int) -> None:
    # Whole numbers: sums are exact in any order, and ties are ties.
    similarity = np.triu(np.random.default_rng(seed).integers(0, 9, (n, n)), 1).astype(np.float32)
    similarity += similarity.T
    out = []
    for module in (kernels_regrouping, reference):
        order, merged = np.empty(n, np.int32), np.zeros((n // group, n // group), np.float32)
        scratch = np.empty(n, np.uint8), np.empty(n, np.float32)
        module.group_alike(similarity, n, group, *scratch, order)
        module.merge_alike(similarity, n, group, order, merged)
        out.append((order.tolist(), merged.tolist()))
    assert out[0] == out[1]
