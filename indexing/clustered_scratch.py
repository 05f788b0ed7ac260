"""What one running clustered query writes into; large parts take memory only where touched."""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.kernels_arrays import Candidates, Found, Opened, Result, Sums, Terms
from indexing.kernels_clustered import STATS
from indexing.kernels_geometry import SUPER_BLOCKS
from indexing.kernels_query import MAX_TERMS

__all__ = ["Scratch"]

_TOP_SUMS = 64
"""Sums of a top group: opened super-blocks are padded to whole ones."""


def _sums(n: int, dtype: Any) -> Sums:
    return Sums(*(np.empty(n // size, dtype=dtype) for size in (1, 8, _TOP_SUMS)))


class Scratch:
    """Scratch memory of one query at a time.

    Parameters
    ----------
    n_documents, n_terms : int
    row_bytes, wide_bytes : int
        Bytes of a dense row of the blocks, and of the wide blocks.
    """

    def __init__(self, n_documents: int, n_terms: int, row_bytes: int, wide_bytes: int) -> None:
        n_blocks, n_wide = 2 * row_bytes, 2 * wide_bytes
        padding = SUPER_BLOCKS * _TOP_SUMS
        cell = np.empty(1, dtype=np.float32)
        self.visited = np.empty(n_blocks, dtype=np.uint32)
        self.stats = np.zeros(STATS, dtype=np.int64)
        self._fixed = (
            tuple(
                Terms(
                    rows=np.empty(MAX_TERMS, dtype=np.int64),
                    weights=np.empty(MAX_TERMS, dtype=np.uint16),
                    tables=np.empty(16 * MAX_TERMS, dtype=np.uint8),
                    coarse=np.zeros(n_terms, dtype=np.uint8),
                    fine=np.zeros(n_terms, dtype=np.float32),
                )
            ),
            tuple(_sums(n_blocks, np.uint16)),
            tuple(_sums(n_blocks + padding, np.uint8)),
            tuple(_sums(n_wide, np.uint8)),
            tuple(
                Opened(
                    ids=np.empty(n_wide + _TOP_SUMS, dtype=np.uint32),
                    bits=np.zeros(n_wide // 64 + 1, dtype=np.uint64),
                    parts=np.empty(n_wide + 1, dtype=np.uint32),
                    firsts=np.empty(n_wide + 1, dtype=np.uint32),
                )
            ),
            tuple(
                Candidates(
                    blocks=np.empty(n_blocks, dtype=np.uint32),
                    estimates=np.empty(n_blocks, dtype=np.uint16),
                    order=np.empty(n_blocks, dtype=np.uint32),
                    counts=np.empty(257, dtype=np.int64),
                )
            ),
        )
        self._found = Found(
            blocks=self.visited,
            scores=np.empty(n_documents, dtype=np.int32),
            positions=np.empty(n_documents, dtype=np.int32),
            heap=np.empty(0, dtype=np.int32),
            state=np.empty(4, dtype=np.int64),
        )
        self._result = Result(np.empty(0, dtype=np.uint64), cell, cell.view(np.int32))
        self._arguments: tuple[Any, ...] = ()
        self._depth = 0

    def arguments(self, k: int) -> tuple[Any, ...]:
        """Return the scratch in the order the kernel takes it, for results of depth `k`."""
        if self._depth < k:
            self._depth = k
            self._arguments = (
                *self._fixed,
                tuple(self._found._replace(heap=np.empty(k, dtype=np.int32))),
                tuple(self._result._replace(heap=np.empty(k, dtype=np.uint64))),
                self.stats,
            )
        return self._arguments
