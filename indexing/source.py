"""Where a build takes its rows from: an encoded collection on disk, or a matrix in memory.

A build never asks for all rows at once; it walks the shards, or `row_chunks` of a size it chooses,
so its memory does not grow with the collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lsr.core.sparse import SparseMatrix, vstack

__all__ = ["MatrixSource", "RowSource", "row_chunks"]


class RowSource(Protocol):
    """Document vectors in row order; `lsr.data.vectors.VectorCollection` is one."""

    @property
    def n_documents(self) -> int:
        """Number of rows."""

    @property
    def nnz(self) -> int:
        """Number of stored weights."""

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""

    def shards(self) -> Iterator[SparseMatrix]:
        """Yield the rows in order, in parts of any size."""


class MatrixSource:
    """The rows of one matrix in memory."""

    def __init__(self, matrix: SparseMatrix) -> None:
        self._matrix = matrix

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return self._matrix.n_rows

    @property
    def nnz(self) -> int:
        """Number of stored weights."""
        return self._matrix.nnz

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""
        return self._matrix.size

    def shards(self) -> Iterator[SparseMatrix]:
        """Yield the matrix."""
        yield self._matrix


def row_chunks(source: RowSource, n_rows: int) -> Iterator[SparseMatrix]:
    """Yield the rows of `source` in matrices of `n_rows` rows, the last one smaller.

    A chunk inside one shard is a view; one that crosses shards is copied.
    """
    waiting: list[SparseMatrix] = []
    n_waiting = 0
    for shard in source.shards():
        start = 0
        while start < shard.n_rows:
            stop = min(shard.n_rows, start + n_rows - n_waiting)
            waiting.append(shard.rows(start, stop))
            n_waiting += stop - start
            start = stop
            if n_waiting == n_rows:
                yield waiting[0] if len(waiting) == 1 else vstack(waiting, source.vocabulary_size)
                waiting, n_waiting = [], 0
    if waiting:
        yield waiting[0] if len(waiting) == 1 else vstack(waiting, source.vocabulary_size)
