from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexing.source import MatrixSource, row_chunks
from lsr.core.sparse import SparseMatrix, vstack
from tests.helpers.strategies import sparse_matrices


class Shards:
    """Rows in given parts."""

    def __init__(self, parts: list[SparseMatrix], size: int) -> None:
        self._parts = parts
        self.vocabulary_size = size
        self.n_documents = sum(part.n_rows for part in parts)
        self.nnz = sum(part.nnz for part in parts)

    def shards(self) -> object:
        return iter(self._parts)


@given(st.lists(sparse_matrices(6, max_rows=7), max_size=4), st.integers(1, 9))
def test_chunks_are_the_same_rows_whatever_the_shards(
    parts: list[SparseMatrix], n_rows: int
) -> None:
    source = Shards(parts, 6)
    chunks = list(row_chunks(source, n_rows))  # type: ignore[arg-type]
    assert vstack(chunks, 6) == vstack(parts, 6)
    assert all(chunk.n_rows == n_rows for chunk in chunks[:-1])
    assert all(0 < chunk.n_rows <= n_rows for chunk in chunks)


def test_matrix_source(rng: np.random.Generator) -> None:
    matrix = SparseMatrix.from_scipy(rng.random((4, 3)))
    source = MatrixSource(matrix)
    assert (source.n_documents, source.nnz, source.vocabulary_size) == (4, 12, 3)
    assert list(source.shards()) == [matrix]
