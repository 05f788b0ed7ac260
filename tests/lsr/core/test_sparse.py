from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from scipy import sparse

from lsr.core.errors import ArgumentError, DataError, WeightError
from lsr.core.sparse import SparseMatrix, SparseVector, hstack, vstack
from tests.helpers.strategies import sparse_matrices, sparse_vectors

SIZE = 40


@given(sparse_vectors(SIZE), sparse_vectors(SIZE))
def test_dot_is_the_dense_inner_product(a: SparseVector, b: SparseVector) -> None:
    dense = np.zeros((2, SIZE))
    dense[0, a.terms], dense[1, b.terms] = a.weights, b.weights
    assert a.dot(b) == pytest.approx(float(dense[0] @ dense[1]))


@given(sparse_matrices(SIZE))
def test_scipy_round_trip(matrix: SparseMatrix) -> None:
    assert SparseMatrix.from_scipy(matrix.to_scipy()) == matrix
    assert SparseMatrix.from_scipy(matrix.to_scipy().tocsc()) == matrix
    assert matrix.check() is matrix


def test_from_scipy_makes_the_canonical_form() -> None:
    rows, cols = [0, 0, 0, 2], [3, 1, 3, 0]
    coo = sparse.coo_array(([1.0, 2.0, 0.5, 0.0], (rows, cols)), shape=(3, 5))
    matrix = SparseMatrix.from_scipy(coo)
    assert matrix.check().nnz == 2
    assert matrix.row(0).terms.tolist() == [1, 3]
    assert matrix.row(0).weights.tolist() == [2.0, 1.5]
    assert matrix.row(2).nnz == 0


@given(sparse_matrices(SIZE, min_rows=1))
def test_rows_take_and_vstack_agree(matrix: SparseMatrix) -> None:
    half = matrix.n_rows // 2
    parts = [matrix.rows(0, half), matrix.rows(half, matrix.n_rows)]
    assert vstack(parts, SIZE) == matrix
    backwards = list(range(matrix.n_rows))[::-1]
    assert list(matrix.take(backwards)) == list(matrix)[::-1]
    assert SparseMatrix.from_rows(matrix, SIZE) == matrix


@given(sparse_matrices(SIZE), sparse_matrices(9))
def test_hstack_puts_rows_side_by_side(left: SparseMatrix, right: SparseMatrix) -> None:
    n = min(left.n_rows, right.n_rows)
    left, right = left.rows(0, n), right.rows(0, n)
    got = hstack(left, right).check()
    dense = np.hstack([left.to_scipy().toarray(), right.to_scipy().toarray()])
    np.testing.assert_array_equal(got.to_scipy().toarray(), dense)
    assert got.nnz == left.nnz + right.nnz
    with pytest.raises(DataError, match="side by side"):
        hstack(left, SparseMatrix.from_rows([*right, SparseVector.from_mapping({}, 9)], 9))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5])
def test_bad_weights_are_refused(bad: float) -> None:
    with pytest.raises(WeightError, match="finite and > 0"):
        SparseVector.from_arrays([1, 2], [1.0, bad], SIZE)
    with pytest.raises(WeightError):
        SparseMatrix.from_scipy(sparse.csr_array(np.array([[0, bad]])))


def test_terms_outside_or_twice_are_refused() -> None:
    with pytest.raises(DataError, match="outside the vocabulary"):
        SparseVector.from_arrays([40], [1.0], SIZE)
    with pytest.raises(DataError, match="outside the vocabulary"):
        SparseVector.from_arrays([-1], [1.0], SIZE)
    with pytest.raises(DataError, match="stands twice"):
        SparseVector.from_arrays([3, 3], [1.0, 2.0], SIZE)
    with pytest.raises(DataError, match="2 terms but 1"):
        SparseVector.from_arrays([3, 4], [1.0], SIZE)


def test_check_finds_what_is_not_canonical() -> None:
    def matrix(indptr: list[int], terms: list[int]) -> SparseMatrix:
        return SparseMatrix(
            np.array(indptr, np.int64),
            np.array(terms, np.int32),
            np.ones(len(terms), np.float32),
            (len(indptr) - 1, SIZE),
        )

    matrix([0, 2, 2, 3], [4, 7, 1]).check()  # an empty row, and a fall between two rows, are fine
    with pytest.raises(DataError, match="ascend"):
        matrix([0, 2], [7, 4]).check()
    with pytest.raises(DataError, match="ascend"):
        matrix([0, 2], [4, 4]).check()
    with pytest.raises(DataError, match="indptr"):
        matrix([0, 3], [4, 5]).check()
    with pytest.raises(DataError, match="outside"):
        matrix([0, 1], [SIZE]).check()


def test_top_keeps_the_heaviest_and_the_order_of_terms() -> None:
    vector = SparseVector.from_arrays([1, 5, 9], [2.0, 1.0, 3.0], SIZE)
    assert vector.top(2).terms.tolist() == [1, 9]
    assert vector.top(5) is vector


def test_row_outside_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="Row 0"):
        SparseMatrix.empty(SIZE).row(0)
