"""The kernels of the document order give what their twins give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels_ordering
from indexing import reference_ordering as reference
from indexing.jit import COMPILED, read_only
from lsr.core.sparse import SparseMatrix
from tests.helpers.strategies import random_matrix, sparse_matrices

SIZE = 30
FEW = 30 if COMPILED else 4
MODULES = (kernels_ordering, reference)


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


@settings(deadline=None, max_examples=FEW)
@given(st.integers(2, 90), st.integers(2, 50), st.integers(0, 5), st.integers(1, 2**63))
def test_directions_are_those_of_the_twin(n: int, n_sample: int, steps: int, seed: int) -> None:
    # Few values: many ties at the median.
    points = np.random.default_rng(seed).integers(-3, 4, (n, 8)).astype(np.int8)
    out = []
    for module in MODULES:
        direction = np.zeros(8, np.int16)
        scratch = [np.empty(max(n, n_sample), np.int32) for _ in range(2)]
        sums = np.empty((2, 8), np.int64)
        module.split_direction(points, n_sample, steps, np.uint64(seed), *scratch, sums, direction)  # type: ignore[attr-defined]
        out.append(direction.tolist())
    assert out[0] == out[1]


@settings(deadline=None, max_examples=FEW)
@given(st.integers(1, 120), st.sampled_from([1, 4, 16]), st.integers(0, 2**64 - 1))
def test_bisections_are_those_of_the_twin(n: int, leaf: int, seed: int) -> None:
    points = np.random.default_rng(seed).integers(-4, 5, (n, 8)).astype(np.int8)
    out = []
    for module in MODULES:
        moved, order = points.copy(), np.arange(n, dtype=np.int32)
        module.bisect_range(  # type: ignore[attr-defined]
            moved,
            order,
            leaf,
            32,
            3,
            np.uint64(seed),
            np.empty(max(n, 32), np.int32),
            np.empty(max(n, 32), np.int32),
            np.empty_like(points),
            np.empty(n, np.int32),
            np.empty((2, 8), np.int64),
            np.empty(8, np.int16),
            np.empty((128, 2), np.int64),
        )
        assert np.array_equal(moved, points[order])
        out.append(order.tolist())
    assert out[0] == out[1]
    assert sorted(out[0]) == list(range(n))


@pytest.mark.parametrize(("first", "last"), [(0, 40), (7, 23), (39, 40)])
def test_copied_rows_are_those_of_the_twin(first: int, last: int, rng: np.random.Generator) -> None:
    matrix = random_matrix(rng, 40, SIZE, 6)
    order = rng.permutation(40)
    positions = np.empty(40, np.int32)
    positions[order] = np.arange(40)
    wanted = matrix.take(order[first:last])
    for module in MODULES:
        terms, weights = np.zeros(wanted.nnz, np.int32), np.zeros(wanted.nnz, np.float32)
        module.copy_rows(  # type: ignore[attr-defined]
            read_only(matrix.indptr),
            read_only(matrix.terms),
            read_only(matrix.weights),
            read_only(positions),
            first,
            last,
            read_only(wanted.indptr),
            terms,
            weights,
        )
        assert np.array_equal(terms, wanted.terms)
        assert np.array_equal(weights, wanted.weights)
