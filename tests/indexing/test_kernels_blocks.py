"""The kernels that make block maxima give what their twins give."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels_blocks
from indexing import reference_blocks as reference
from indexing.jit import COMPILED, half_bits
from lsr.core.sparse import SparseMatrix
from tests.helpers.strategies import random_matrix, sparse_matrices

SIZE = 30
FEW = 30 if COMPILED else 4


def counts_of(
    module: ModuleType, matrix: SparseMatrix, block_rows: int, first: int, last: int
) -> tuple[list[int], list[float]]:
    terms, fine = matrix.terms.astype(np.uint16), half_bits(matrix.weights)
    counts, largest = np.zeros(matrix.size, np.uint16), np.zeros(matrix.size, np.float32)
    seen = np.empty(matrix.size, np.int64)
    module.count_block_terms(matrix.indptr, terms, fine, block_rows, first, last, seen, counts)
    module.term_maxima(terms, fine, largest)
    return counts.tolist(), largest.tolist()


@settings(deadline=None, max_examples=FEW)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=60), st.sampled_from([4, 16]), st.data())
def test_counts_and_maxima_are_those_of_the_twins(
    matrix: SparseMatrix, block_rows: int, data: st.DataObject
) -> None:
    n_blocks = -(-matrix.n_rows // block_rows)
    last = data.draw(st.integers(1, n_blocks))
    first = data.draw(st.integers(0, last - 1))
    mine = counts_of(kernels_blocks, matrix, block_rows, first, last)
    assert mine == counts_of(reference, matrix, block_rows, first, last)


@pytest.mark.parametrize("first", [0, 65_536])
@pytest.mark.parametrize("n_rows", [1, 4, 63, 200])
def test_filled_maxima_are_those_of_the_twin(
    n_rows: int, first: int, rng: np.random.Generator
) -> None:
    matrix = random_matrix(rng, n_rows, SIZE, 7)
    # The blocks before `first` are empty documents.
    indptr = np.concatenate([np.zeros(4 * first, np.int64), matrix.indptr])
    terms, fine = matrix.terms.astype(np.uint16), half_bits(matrix.weights)
    last = first + -(-n_rows // 4)
    chunk_bytes = -(-(-(-n_rows // 64) * 8) // 64) * 64
    width = first // 2 + chunk_bytes
    term_max = np.zeros(SIZE, np.float32)
    kernels_blocks.term_maxima(terms, fine, term_max)
    dense_row = np.full(SIZE, -1, np.int32)
    dense_row[::3] = np.arange(len(dense_row[::3]))
    out = []
    for module in (kernels_blocks, reference):
        dense = np.zeros((len(dense_row[::3]), width), np.uint8)
        cursor = np.arange(SIZE, dtype=np.int64) * 60
        slots, levels = np.zeros(SIZE * 60, np.uint16), np.zeros(SIZE * 60, np.uint8)
        module.fill_block_maxima(
            indptr,
            terms,
            fine,
            4,
            first,
            last,
            chunk_bytes,
            term_max,
            dense_row,
            dense,
            cursor,
            slots,
            levels,
            np.zeros(SIZE, np.float32),
            np.empty(SIZE, np.int32),
        )
        out.append((dense, cursor, slots, levels))
    for mine, theirs in zip(*out, strict=True):
        assert np.array_equal(mine, theirs)
