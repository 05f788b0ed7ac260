"""One call of the Seismic kernels: what is asked, and what a running query writes into."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from indexing.config_seismic import SeismicParams
from indexing.kernels_seismic_estimates import N_BUCKETS
from lsr.core.sparse import Float32Array, Int32Array, Int64Array, UInt64Array

__all__ = ["Job", "Scratch"]


class Job(NamedTuple):
    """Queries of one call, what is asked of them, and where their results go.

    Attributes
    ----------
    queries : int64, int32, float32
        Queries in compressed rows.
    span : (int, int)
        Which of them.
    nnz : int
        Of the longest.
    depth : int
        Results a query.
    """

    queries: tuple[Int64Array, Int32Array, Float32Array]
    span: tuple[int, int]
    nnz: int
    depth: int
    params: SeismicParams
    allowed: UInt64Array
    out_rows: Int32Array
    out_bits: Int32Array


class Scratch:
    """What one running query writes into; parts that depend on the parameters grow."""

    def __init__(self, n_documents: int, n_terms: int) -> None:
        self.coarse_query = np.zeros(n_terms, np.uint8)
        self.fine_query = np.zeros(n_terms, np.float32)
        self.counts = np.empty(N_BUCKETS + 1, np.int64)
        self.visited = np.zeros(n_documents, np.uint8)
        self.rows = np.empty(n_documents, np.int32)
        self.scores = np.empty(n_documents, np.int32)
        self.term_order = np.empty(0, np.int64)
        self.estimates = np.empty(0, np.int32)
        self.candidate_blocks = np.empty(0, np.int64)
        self.block_order = np.empty(0, np.int32)
        self.score_heap = np.empty(0, np.int32)
        self.heap = np.empty(0, np.uint64)
        self.stats = np.zeros(4, np.int64)
        self._arguments: tuple[Any, ...] = ()

    def arguments(self, *, query_nnz: int, n_blocks: int, k: int) -> tuple[Any, ...]:
        """Return the scratch in the order the kernel takes it, with room for such a query."""
        fits = (
            query_nnz <= len(self.term_order)
            and n_blocks <= len(self.estimates)
            and k <= len(self.heap)
        )
        if not self._arguments or not fits:
            self.fit(query_nnz=query_nnz, n_blocks=n_blocks, k=k)
            self._arguments = (
                self.coarse_query,
                self.fine_query,
                self.term_order,
                self.estimates,
                self.candidate_blocks,
                self.block_order,
                self.counts,
                self.visited,
                self.rows,
                self.scores,
                self.score_heap,
                self.heap,
                self.stats,
            )
        return self._arguments

    def fit(self, *, query_nnz: int, n_blocks: int, k: int) -> None:
        """Make room for a query of `query_nnz` terms, `n_blocks` candidates, `k` results."""
        self._arguments = ()
        if len(self.term_order) < query_nnz:
            self.term_order = np.empty(query_nnz, np.int64)
        if len(self.estimates) < n_blocks:
            self.estimates = np.empty(n_blocks, np.int32)
            self.candidate_blocks = np.empty(n_blocks, np.int64)
            self.block_order = np.empty(n_blocks, np.int32)
        if len(self.heap) < k:
            self.score_heap = np.empty(k, np.int32)
            self.heap = np.empty(k, np.uint64)
