"""Kernels of the clustered layout give what their numpy twins give, compiled once each."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels_blocks, kernels_clustered, kernels_ordering
from indexing import reference_clustered as reference
from indexing.clustered import ClusteredIndex
from indexing.clustered_explain import block_estimate
from indexing.config_clustered import ClusteredLayout, ClusteredParams
from indexing.jit import COMPILED, jit, read_only
from indexing.lookup import ROWS, STEP_BYTES, add_levels, add_super_block
from lsr.core.sparse import SparseMatrix, SparseVector
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

SIZE = 30
FEW = 30 if COMPILED else 4


def scores_of_blocks(
    module: ModuleType, name: str, index: ClusteredIndex, query: SparseVector, scale: float
) -> tuple[Any, ...]:
    blocks = index._parts.blocks
    bytes_ = blocks.dense.shape[1]
    dtype = np.uint16 if name == "bound_blocks" else np.uint8
    scratch = np.empty(16 * kernels_clustered.MAX_TERMS, dtype)
    out = [np.full(n, 9, dtype) for n in (2 * bytes_, bytes_ // 4, bytes_ // 32)]
    getattr(module, name)(
        read_only(query.terms),
        read_only(query.weights),
        np.float32(0),
        scale,
        index.vocabulary_size,
        blocks.term_max,
        blocks.dense_row,
        read_only(blocks.dense.reshape(-1)),
        blocks.list_bases,
        blocks.list_pointers,
        blocks.list_slots,
        blocks.list_levels,
        np.empty(kernels_clustered.MAX_TERMS, np.int64),
        scratch,
        *out,
    )
    return tuple(out)


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
    term_max = index._parts.blocks.term_max
    bound = float((query.weights * term_max[query.terms]).sum())
    if bound == 0:
        return
    for name, units in (("bound_blocks", 65_535 - 16 * query.nnz), ("estimate_blocks", 384)):
        scale = units / bound
        got = scores_of_blocks(kernels_clustered, name, index, query, scale)
        expected = scores_of_blocks(reference, name, index, query, scale)
        for mine, theirs in zip(got, expected, strict=True):
            assert np.array_equal(mine, theirs), name


@settings(deadline=None, max_examples=FEW)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=90), sparse_vectors(SIZE))
def test_a_bound_is_never_below_a_score(matrix: SparseMatrix, query: SparseVector) -> None:
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    blocks, width = index._parts.blocks, index._parts.blocks.dense.shape[1]
    bound = float((query.weights * blocks.term_max[query.terms]).sum())
    if bound == 0:
        return
    scale = (65_535 - 16 * query.nnz) / bound
    sums, _, _ = scores_of_blocks(kernels_clustered, "bound_blocks", index, query, scale)
    for row in range(matrix.n_rows):
        score = query.dot(index.document(row))
        block = int(index._parts.positions[row]) // kernels_blocks.BLOCK_ROWS
        slot = int(kernels_clustered.slot_of(block, width))
        units = score / float(index._inverse_scale) * scale
        assert sums[slot] >= units - 1e-6
        assert block_estimate(blocks, query, block) * float(index._inverse_scale) >= score - 1e-6


@pytest.mark.parametrize("n_blocks", [1, 7, 8, 16, 17, 65_535, 65_536, 65_537, 131_080])
def test_slots_and_blocks_are_each_others_inverse(n_blocks: int) -> None:
    bytes_ = -(-(-(-n_blocks // 16) * 8) // 64) * 64
    seen = set()
    step = 1 if n_blocks < 100 or COMPILED else 997
    for block in {*range(0, n_blocks, step), n_blocks - 1}:
        slot = int(kernels_clustered.slot_of(block, bytes_))
        chunk = block // kernels_blocks.CHUNK_BLOCKS
        start = chunk * kernels_blocks.CHUNK_BYTES
        size = min(kernels_blocks.CHUNK_BYTES, bytes_ - start)
        assert 0 <= slot < 2 * bytes_
        assert int(kernels_clustered.block_of(slot - 2 * start, size, chunk)) == block
        seen.add(slot)
    assert len(seen) == len({*range(0, n_blocks, step), n_blocks - 1})


@jit
def look_up(low, high, sums, dense, tables):  # type: ignore[no-untyped-def]
    add_levels(low, high, 0, dense, 0, STEP_BYTES, 2 * STEP_BYTES, 3 * STEP_BYTES, tables, 0)
    add_super_block(sums, 0, dense, 0, tables, 0)


def test_table_look_up_saturates(rng: np.random.Generator) -> None:
    dense = read_only(rng.integers(0, 256, ROWS * STEP_BYTES, dtype=np.uint8))
    tables = rng.integers(0, 120, 16 * ROWS, dtype=np.uint8)
    low, high = (rng.integers(0, 30, STEP_BYTES, dtype=np.uint8) for _ in range(2))
    sums = np.zeros((2, STEP_BYTES), np.int64)
    for row in range(ROWS):
        levels = dense[row * STEP_BYTES : (row + 1) * STEP_BYTES]
        table = tables[16 * row : 16 * row + 16].astype(np.int64)
        sums += [table[levels & 15], table[levels >> 4]]
    expected = np.minimum(sums + [low, high], 255)
    sums16 = np.full(16, 200, np.uint8)
    look_up(low, high, sums16, dense, tables)
    assert np.array_equal([low, high], expected)
    table = tables[:16].astype(np.int64)
    levels = dense[:8]
    wanted = np.minimum(200 + np.concatenate([table[levels & 15], table[levels >> 4]]), 255)
    assert np.array_equal(sums16, wanted)


def test_threshold_is_reached_by_what_is_wanted(rng: np.random.Generator) -> None:
    n = 32_768 if COMPILED else 1_024
    sums = rng.integers(0, 200, n).astype(np.uint8)
    groups = sums.reshape(8, -1).max(axis=0)
    tops = groups.reshape(8, -1).max(axis=0)
    for wanted in (1, 10, n // 50, n // 4, n - 1):
        found = kernels_clustered.threshold_for(sums, groups, tops, wanted, np.uint8(1))
        threshold = int(found)
        assert threshold >= 1
        assert (sums >= threshold).sum() >= min(wanted, (sums > 0).sum())
        values = next((x for x in (tops, groups) if wanted * 4 <= len(x)), sums)
        assert (values >= threshold + 1).sum() < wanted


def test_cut_terms_cover_the_mass(rng: np.random.Generator) -> None:
    for n in (1, 2, 40, 3_000):
        weights = read_only(rng.uniform(0.01, 3, n).astype(np.float32))
        for mass in (0.1, 0.5, 0.9, 1.0):
            limit = kernels_clustered.MAX_TERMS
            threshold = kernels_clustered.term_threshold(weights, mass, limit)
            kept = weights >= threshold
            assert kept.sum() <= limit + 1 or n <= limit
            if n <= limit:
                assert weights[kept].sum() >= mass * weights.sum() * (1 - 1e-5)


@settings(deadline=None, max_examples=FEW)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=20), st.integers(1, 5))
def test_regrouping_is_that_of_the_twin(matrix: SparseMatrix, group: int) -> None:
    n = matrix.n_rows
    out = []
    for module in (kernels_ordering, reference):
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
    for module in (kernels_ordering, reference):
        order, merged = np.empty(n, np.int32), np.zeros((n // group, n // group), np.float32)
        scratch = np.empty(n, np.uint8), np.empty(n, np.float32)
        module.group_alike(similarity, n, group, *scratch, order)
        module.merge_alike(similarity, n, group, order, merged)
        out.append((order.tolist(), merged.tolist()))
    assert out[0] == out[1]


@settings(deadline=None, max_examples=FEW)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=20), st.integers(0, 2**31))
def test_projections_are_those_of_the_twin(matrix: SparseMatrix, seed: int) -> None:
    rng = np.random.default_rng(seed)
    directions = read_only(rng.standard_normal((SIZE, 16), dtype=np.float32))
    out = []
    for module in (kernels_ordering, reference):
        points = np.empty((matrix.n_rows, 16), np.int8)
        module.project_rows(
            read_only(matrix.indptr),
            read_only(matrix.terms),
            read_only(matrix.weights),
            directions,
            np.empty(16, np.float32),
            np.float32(127),
            np.empty(16, np.float32),
            points,
        )
        out.append(points.astype(int))
    assert np.abs(out[0] - out[1]).max(initial=0) <= 1
    direction = rng.integers(-8191, 8191, 16).astype(np.int16)
    values = [np.empty(matrix.n_rows, np.int32) for _ in range(2)]
    kernels_ordering.project_points(out[0].astype(np.int8), direction, values[0])
    reference.project_points(out[0].astype(np.int8), direction, values[1])
    assert np.array_equal(values[0], values[1])


def test_one_signature_a_kernel(rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    index = ClusteredIndex.from_matrix(random_matrix(rng, 50, SIZE, 6), n_threads=1)
    query = random_matrix(rng, 1, SIZE, 4).row(0)
    index.search(query, 3)
    index.search(query, 3, params=ClusteredParams(exact=True))
    index.search_batch(SparseMatrix.from_rows([query], SIZE), 3)
    # Wide vocabularies are a second one: their terms take four bytes.
    signatures = kernels_clustered.clustered_search.signatures
    assert 1 <= len([s for s in signatures if "uint16" in str(s[2])]) <= 1
