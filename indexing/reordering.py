"""The rows of a collection in another order, in bounded memory.

Ranges of the new order are gathered one after another, each by a walk over all shards, so that a
collection larger than memory is read in sequence a few times rather than in random places once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from indexing import kernels_ordering as kernels
from indexing.jit import read_only
from indexing.ordering import regroup
from indexing.source import RowSource
from indexing.threads import run_parallel
from lsr.core.sparse import Int32Array, Int64Array, SparseMatrix

__all__ = ["RANGE_POSTINGS", "ReorderedSource"]

RANGE_POSTINGS = 24_000_000
"""Postings gathered at a time, of 8 bytes each; twice that while they are regrouped."""


class ReorderedSource:
    """The rows of `source` in the order `order`, regrouped on the way; walk it once.

    Parameters
    ----------
    source : RowSource
    order : int32, shape (n_documents,)
        Row at each position. `shards` changes it where it regroups.
    lengths : int32, shape (n_documents,)
        Terms of each row of `source`.
    regroup_rows : int
        Rows of a run that `indexing.ordering.regroup` orders; 0 for none.
    group : int
        Rows a block.
    n_threads : int
    range_postings : int
        Postings in memory at a time.
    """

    def __init__(
        self,
        source: RowSource,
        order: Int32Array,
        lengths: Int32Array,
        *,
        regroup_rows: int,
        group: int,
        n_threads: int,
        range_postings: int = RANGE_POSTINGS,
    ) -> None:
        self._source = source
        self._order = order
        self._lengths = lengths
        self._regroup_rows = regroup_rows
        self._group = group
        self._n_threads = n_threads
        self._range_postings = range_postings

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return self._source.n_documents

    @property
    def nnz(self) -> int:
        """Number of stored weights."""
        return self._source.nnz

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""
        return self._source.vocabulary_size

    def shards(self) -> Iterator[SparseMatrix]:
        """Yield the rows in the new order, range by range."""
        positions = np.empty(self.n_documents, dtype=np.int32)
        positions[self._order] = np.arange(self.n_documents, dtype=np.int32)
        for first, last in self._ranges():
            here = self._order[first:last]
            gathered = self._gather(list(self._source.shards()), positions, first, last)
            if self._regroup_rows:
                local = regroup(
                    gathered,
                    run=self._regroup_rows,
                    group=self._group,
                    n_threads=self._n_threads,
                )
                here[:] = here[local]
                moved = np.empty(len(local), dtype=np.int32)
                moved[local] = np.arange(len(local), dtype=np.int32)
                positions[here] = first + np.arange(len(local), dtype=np.int32)
                gathered = self._gather([gathered], moved, 0, len(local), here)
            yield gathered

    def _ranges(self) -> list[tuple[int, int]]:
        """Return the ranges: whole runs, and about the allowed number of postings each."""
        step = max(self._regroup_rows, self._group)
        ends = np.cumsum(self._lengths[self._order], dtype=np.int64)
        ranges, first, done = [], 0, 0
        while first < self.n_documents:
            last = int(np.searchsorted(ends, done + self._range_postings, side="right"))
            last = min(max((last // step) * step, first + step), self.n_documents)
            ranges.append((first, last))
            first, done = last, int(ends[last - 1])
        return ranges

    def _gather(
        self,
        shards: list[SparseMatrix],
        positions: Int32Array,
        first: int,
        last: int,
        rows: Int32Array | None = None,
    ) -> SparseMatrix:
        """Return the rows whose position lies in ``first:last``, in order of position."""
        rows = self._order[first:last] if rows is None else rows
        indptr = np.zeros(last - first + 1, dtype=np.int64)
        np.cumsum(self._lengths[rows], out=indptr[1:])
        terms = np.empty(int(indptr[-1]), dtype=np.int32)
        weights = np.empty(int(indptr[-1]), dtype=np.float32)
        starts: Int64Array = np.cumsum([0, *(shard.n_rows for shard in shards)])
        positions, out_indptr = read_only(positions), read_only(indptr)

        def run(item: int) -> None:
            shard = shards[item]
            kernels.copy_rows(
                read_only(shard.indptr),
                read_only(shard.terms),
                read_only(shard.weights),
                positions[int(starts[item]) : int(starts[item + 1])],
                first,
                last,
                out_indptr,
                terms,
                weights,
            )

        run_parallel(run, len(shards), self._n_threads)
        return SparseMatrix(indptr, terms, weights, (last - first, self.vocabulary_size))
