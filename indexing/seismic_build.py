"""Build of the Seismic layout: forward index, pruned lists, blocks, summaries; list by list.

Arrays of an index, all by list, then by block or component:

``blocks_of_list`` (n_terms + 1), ``block_starts`` (n_blocks + 1), ``postings``
    Block `b` of list `t` is ``blocks_of_list[t] + b``; its rows start at ``block_starts``.
``list_components`` (n_terms + 1), ``components``
    The terms that any summary of the list has, ascending.
``component_offsets`` (components + n_terms), ``entry_pointers`` (n_terms + 1)
    Entries of component `c` (its place in ``components``) of list `t` start at
    ``entry_pointers[t] + component_offsets[c + t]``; a list has one offset more than components.
``entry_blocks``, ``entry_weights``
    Block within the list, and the summary's coarse weight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing import kernels_seismic_build as kernels
from indexing.arrays import ArrayTarget
from indexing.config_seismic import SeismicLayout
from indexing.forward import ForwardIndex, build_forward
from indexing.pruning import pruned_lists
from indexing.source import RowSource
from indexing.threads import ScratchPool
from lsr.core.console import progress_bar
from lsr.core.sparse import (
    Int32Array,
    Int64Array,
    SparseMatrix,
    UInt8Array,
    UInt16Array,
    UInt32Array,
)

__all__ = ["MAX_BLOCKS", "build_lists", "fill_neighbors"]

MAX_BLOCKS = 65_535
"""Blocks a list can have: a block's number within its list is stored in two bytes."""

_LISTS_AHEAD = 64
_NEIGHBOR_ROWS = 4096


class _List(NamedTuple):
    """One list, ready to be stored."""

    postings: Int32Array
    starts: Int64Array
    components: NDArray[Any]
    offsets: UInt32Array
    blocks: UInt16Array
    weights: UInt8Array


class _Scratch:
    """Work arrays of one thread; those that depend on a list grow to the largest."""

    def __init__(self, forward: ForwardIndex) -> None:
        n_terms = forward.vocabulary_size
        self._forward = forward
        self.slots = np.zeros(n_terms, np.int32)
        self.list_starts = np.empty(n_terms + 1, np.int64)
        self.touched = np.empty(n_terms + 1, np.int64)
        self.maxima = np.zeros(n_terms, np.uint8)
        self.histogram = np.empty(256, np.int64)
        self.term_counts = np.zeros(n_terms, np.int64)
        self.components = np.empty(n_terms, forward.terms.dtype)
        self.offsets = np.empty(n_terms + 1, np.uint32)
        self.state = np.empty(1, np.uint64)
        self._n_rows = self._n_entries = 0

    def fit(self, n_rows: int, n_entries: int) -> None:
        """Make room for a list of `n_rows` documents with `n_entries` terms in all."""
        if n_rows > self._n_rows:
            self._n_rows = n_rows + n_rows // 4
            for name in ("centroids", "similarities", "assigned", "sizes", "out_rows"):
                setattr(self, name, np.empty(self._n_rows, np.int32))
            self.out_starts = np.empty(self._n_rows + 1, np.int64)
            self.block_ends = np.empty(self._n_rows, np.int64)
        if n_entries > self._n_entries:
            self._n_entries = n_entries + n_entries // 4
            for name in ("list_centroids", "list_weights", "block_terms"):
                setattr(self, name, np.empty(self._n_entries, np.int32))
            self.block_weights = np.empty(self._n_entries, np.uint8)
            self.out_blocks = np.empty(self._n_entries, np.uint16)
            self.out_weights = np.empty(self._n_entries, np.uint8)

    def __getattr__(self, name: str) -> NDArray[Any]:
        raise AttributeError(f"{name}: call fit() first")


def build_lists(
    source: RowSource,
    target: ArrayTarget,
    layout: SeismicLayout,
    *,
    seed: int,
    n_threads: int,
) -> ForwardIndex:
    """Build all arrays of the layout into `target`; return the forward index among them.

    The result depends on the rows, the layout and the seed, not on the threads.
    """
    forward = build_forward(source, target.allocate, n_threads=n_threads)
    n_terms = forward.vocabulary_size
    blocks_of_list = target.allocate("blocks_of_list", np.int64, (n_terms + 1,))
    list_components = target.allocate("list_components", np.int64, (n_terms + 1,))
    entry_pointers = target.allocate("entry_pointers", np.int64, (n_terms + 1,))
    totals = np.zeros(4, dtype=np.int64)
    for pointers in (blocks_of_list, list_components, entry_pointers):
        pointers[0] = 0
    with progress_bar("lists", n_terms) as advance:
        for term, made in enumerate(_lists(forward, layout, seed=seed, n_threads=n_threads)):
            # An empty list has one offset and nothing else; most lists of a large vocabulary are.
            target.append("component_offsets", made.offsets)
            if len(made.postings) or term == 0:
                target.append("block_starts", totals[0] + made.starts)
                target.append("postings", made.postings)
                target.append("components", made.components)
                target.append("entry_blocks", made.blocks)
                target.append("entry_weights", made.weights)
            totals += (
                len(made.postings),
                len(made.starts),
                len(made.components),
                len(made.blocks),
            )
            blocks_of_list[term + 1] = totals[1]
            list_components[term + 1] = totals[2]
            entry_pointers[term + 1] = totals[3]
            advance(1)
    target.append("block_starts", totals[:1])
    return forward


def _lists(
    forward: ForwardIndex, layout: SeismicLayout, *, seed: int, n_threads: int
) -> Iterator[_List]:
    """Yield the finished lists in the order of the terms; threads work a few lists ahead."""
    pool = ScratchPool(lambda: _Scratch(forward))
    waiting: deque[Future[_List] | _List] = deque()
    empty = _empty_list(forward)

    def build(term: int, rows: Int32Array) -> _List:
        with pool.borrow() as scratch:
            return _build_list(forward, layout, scratch, rows, seed=seed, term=term)

    with ThreadPoolExecutor(n_threads, thread_name_prefix="lsr") as threads:
        try:
            for part in pruned_lists(forward, layout.pruning, n_threads=n_threads):
                for at, rows in enumerate(part.lists):
                    term = part.first + at
                    waiting.append(threads.submit(build, term, rows) if len(rows) else empty)
                    if len(waiting) >= _LISTS_AHEAD:
                        yield _finished(waiting.popleft())
            while waiting:
                yield _finished(waiting.popleft())
        finally:
            for item in waiting:
                if isinstance(item, Future):
                    item.cancel()


def _finished(item: Future[_List] | _List) -> _List:
    return item.result() if isinstance(item, Future) else item


def _empty_list(forward: ForwardIndex) -> _List:
    return _List(
        np.empty(0, np.int32),
        np.empty(0, np.int64),
        np.empty(0, forward.terms.dtype),
        np.zeros(1, np.uint32),
        np.empty(0, np.uint16),
        np.empty(0, np.uint8),
    )


def _build_list(
    forward: ForwardIndex,
    layout: SeismicLayout,
    scratch: _Scratch,
    rows: Int32Array,
    *,
    seed: int,
    term: int,
) -> _List:
    n_rows = len(rows)
    n_entries = int((forward.pointers[rows + 1] - forward.pointers[rows]).sum())
    scratch.fit(n_rows, n_entries)
    scratch.state[0] = (seed << 32) + term
    n_centroids = min(max(int(n_rows * layout.centroid_fraction), 1), MAX_BLOCKS)
    arrays = (forward.pointers, forward.terms, forward.coarse)
    n_blocks = kernels.cluster_list(
        rows,
        n_centroids,
        layout.min_cluster_size,
        layout.doc_cut,
        scratch.state,
        *arrays,
        scratch.slots,
        scratch.centroids,
        scratch.list_starts,
        scratch.touched,
        scratch.list_centroids,
        scratch.list_weights,
        scratch.similarities,
        scratch.assigned,
        scratch.sizes,
        scratch.out_rows,
        scratch.out_starts,
    )
    scratch.out_starts[n_blocks] = n_rows
    n_components, n_kept = kernels.summarise_list(
        scratch.out_rows,
        scratch.out_starts,
        n_blocks,
        layout.summary_energy,
        *arrays,
        scratch.maxima,
        scratch.touched,
        scratch.histogram,
        scratch.block_terms,
        scratch.block_weights,
        scratch.block_ends,
        scratch.term_counts,
        scratch.components,
        scratch.offsets,
        scratch.out_blocks,
        scratch.out_weights,
    )
    return _List(
        scratch.out_rows[:n_rows].copy(),
        scratch.out_starts[:n_blocks].copy(),
        scratch.components[:n_components].copy(),
        scratch.offsets[: n_components + 1].copy(),
        scratch.out_blocks[:n_kept].copy(),
        scratch.out_weights[:n_kept].copy(),
    )


def fill_neighbors(
    neighbors: Int32Array,
    forward: ForwardIndex,
    search: Callable[[SparseMatrix, int], Int32Array],
) -> None:
    """Write each document's nearest neighbours, as the index itself finds them.

    Parameters
    ----------
    neighbors : int32, shape (n_documents, n_neighbors)
        Written.
    forward : ForwardIndex
    search : callable
        Of vectors and a depth: the best rows of each.
    """
    n_documents, n_neighbors = neighbors.shape
    with progress_bar("neighbours", n_documents) as advance:
        for first in range(0, n_documents, _NEIGHBOR_ROWS):
            last = min(first + _NEIGHBOR_ROWS, n_documents)
            found = search(forward.rows(first, last), n_neighbors + 1)
            others = found != np.arange(first, last)[:, None]
            # A document that did not find itself loses its last neighbour instead.
            others[others.all(axis=1), -1] = False
            neighbors[first:last] = found[others].reshape(last - first, n_neighbors)
            advance(last - first)
