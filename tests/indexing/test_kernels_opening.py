"""Opened super-blocks have the estimates that all blocks would have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels_opening
from indexing import reference_clustered as reference
from indexing.clustered import ClusteredIndex
from indexing.config_clustered import ClusteredLayout
from indexing.jit import COMPILED
from indexing.kernels_arrays import Opened
from lsr.core.sparse import SparseMatrix, SparseVector
from tests.helpers.clustered import make_sums, maxima_of, query_of, two_chunks, unit
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

SIZE = 30
FEW = 30 if COMPILED else 4
MODULES = (kernels_opening, reference)


def opened_for(ids: list[int]) -> Opened:
    return Opened(
        np.array(ids, np.uint32),
        np.zeros(1 + max(ids) // 64, np.uint64),
        np.zeros(len(ids) + 1, np.uint32),
        np.zeros(len(ids) + 1, np.uint32),
    )


def compare(
    index: ClusteredIndex, query: SparseVector, ids: list[int], threshold: np.float32
) -> None:
    row_bytes = index._parts.blocks.dense.shape[1]
    out = []
    for module in MODULES:
        sums = make_sums(-(-len(ids) // 64) * 1_024, np.uint8)
        n = module.open_super_blocks(  # type: ignore[attr-defined]
            query_of(query),
            maxima_of(index),
            threshold,
            unit(index, query, 384),
            row_bytes,
            np.empty(16, np.uint8),
            opened_for(ids),
            len(ids),
            sums,
        )
        first = kernels_opening.first_sums(sums, n)
        out.append([part.tolist() for part in first])
    assert out[0] == out[1]


@settings(deadline=None, max_examples=FEW)
@given(
    sparse_matrices(SIZE, min_rows=1, max_rows=150),
    sparse_vectors(SIZE),
    st.sampled_from([1e-6, 0.3, 1.0]),
    st.data(),
)
def test_opened_sums_are_those_of_the_twin(
    matrix: SparseMatrix, query: SparseVector, dense_share: float, data: st.DataObject
) -> None:
    layout = ClusteredLayout(dense_share=dense_share, regroup_rows=0)
    index = ClusteredIndex.from_matrix(matrix, layout, n_threads=1)
    if unit(index, query, 1):
        n_super = -(-matrix.n_rows // 64)
        ids = sorted(data.draw(st.sets(st.integers(0, n_super - 1), min_size=1)))
        compare(index, query, ids, np.float32(data.draw(st.sampled_from([0.0, 4.0]))))


def test_they_are_across_parts_and_chunks(rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    index = two_chunks(rng, SIZE)
    query = random_matrix(rng, 1, SIZE, 9).row(0)
    for size in (1, 5, 70, 400):
        ids = sorted(rng.choice(4_100, size, replace=False).tolist())
        compare(index, query, ids, np.float32(0))
    compare(index, query, [0, 63, 64, 4_095, 4_096, 4_099], np.float32(0))


@settings(deadline=None, max_examples=FEW)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=40), st.integers(0, 2))
def test_super_blocks_and_parts_are_those_of_the_twin(wide: list[int], shift: int) -> None:
    out = []
    for module in MODULES:
        scratch = opened_for(wide)
        ids = np.array(wide, np.uint32)
        n = int(module.super_blocks_of(ids, len(wide), shift, scratch.bits))  # type: ignore[attr-defined]
        assert not scratch.bits.any()
        n_parts = int(module.find_parts(ids, n, scratch.parts, scratch.firsts))  # type: ignore[attr-defined]
        out.append(
            (
                ids[:n].tolist(),
                scratch.parts[:n_parts].tolist(),
                scratch.firsts[: n_parts + 1].tolist(),
            )
        )
    assert out[0] == out[1]
    assert out[0][0] == sorted({wide_id >> shift for wide_id in wide})
