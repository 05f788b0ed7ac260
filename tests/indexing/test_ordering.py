"""The clustered order: a permutation, the same for any threads, with likes beside likes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import ordering
from indexing.jit import COMPILED
from indexing.kernels_ordering import select_rank
from indexing.ordering import cluster_order, inverse_frequencies, project, regroup
from indexing.reordering import ReorderedSource
from indexing.source import MatrixSource
from lsr.core.sparse import SparseMatrix, SparseVector, vstack
from tests.helpers.strategies import random_matrix


def nothing(n: int) -> None:
    """Take a progress report."""


def order_of(matrix: SparseMatrix, *, leaf: int, seed: int = 3, n_threads: int = 1) -> list[int]:
    frequencies = np.bincount(matrix.terms, minlength=matrix.size)
    points = project(
        MatrixSource(matrix),
        inverse_frequencies(frequencies, matrix.n_rows),
        n_dimensions=32,
        seed=seed,
        n_threads=n_threads,
        advance=nothing,
    )
    order = cluster_order(
        points, leaf=leaf, n_iterations=4, seed=seed, n_threads=n_threads, advance=nothing
    )
    return order.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("n_rows", [0, 1, 2, 5, 16, 17, 100, 333])
@pytest.mark.parametrize("leaf", [4, 16])
def test_order_is_a_permutation(n_rows: int, leaf: int, rng: np.random.Generator) -> None:
    if not COMPILED and n_rows > 20:
        pytest.skip("interpreted")
    matrix = random_matrix(rng, n_rows, 50, 6)
    assert sorted(order_of(matrix, leaf=leaf)) == list(range(n_rows))


def test_order_depends_on_the_seed_and_not_on_threads(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    # Small pieces, so that threads split together and apart.
    monkeypatch.setattr(ordering, "TASK_ROWS", 64)
    monkeypatch.setattr(ordering, "PROJECT_ROWS", 50)
    matrix = random_matrix(rng, 700, 80, 10)
    one = order_of(matrix, leaf=8)
    assert one == order_of(matrix, leaf=8, n_threads=4)
    assert one != order_of(matrix, leaf=8, seed=4)


def test_likes_stand_together(rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    # Twenty topics of disjoint terms, shuffled.
    n = 400
    topics = rng.permutation(np.arange(n) % 20)
    rows = [
        SparseVector.from_arrays(t * 8 + rng.choice(8, 6, replace=False), rng.uniform(1, 2, 6), 160)
        for t in topics
    ]
    matrix = SparseMatrix.from_rows(rows, 160)
    order = np.array(order_of(matrix, leaf=4))
    changes = (np.diff(topics[order]) != 0).sum()
    assert changes < 0.4 * (np.diff(topics) != 0).sum()
    moved = matrix.take(order)
    final = topics[order[regroup(moved, run=80, group=4, n_threads=1)]].reshape(-1, 4)
    pure = (final == final[:, :1]).all(axis=1).mean()
    assert pure > (topics[order].reshape(-1, 4) == topics[order][::4, None]).all(axis=1).mean()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.data())
def test_select_rank_is_sorting(values: list[int], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(values) - 1))
    array = np.array(values, dtype=np.int32)
    assert int(select_rank(array, len(values), rank)) == sorted(values)[rank]


@pytest.mark.parametrize("range_postings", [1, 300, 10_000])
@pytest.mark.parametrize("regroup_rows", [0, 16])
def test_reordered_rows_are_the_rows(
    range_postings: int, regroup_rows: int, rng: np.random.Generator
) -> None:
    matrix = random_matrix(rng, 100, 50, 6)
    order = rng.permutation(100).astype(np.int32)
    before = order.copy()
    source = ReorderedSource(
        MatrixSource(matrix),
        order,
        np.diff(matrix.indptr).astype(np.int32),
        regroup_rows=regroup_rows,
        group=4,
        n_threads=2,
        range_postings=range_postings,
    )
    assert vstack(source.shards(), matrix.size) == matrix.take(order)
    if regroup_rows:
        for start in range(0, 100, 16):
            assert set(order[start : start + 16]) == set(before[start : start + 16])
    else:
        assert np.array_equal(order, before)
