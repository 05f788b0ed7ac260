"""Which postings the lists of the Seismic layout keep.

A threshold on the weight (fine bits, which order like the weights) is found by counting; then the
lists are gathered from the forward index, a range of terms at a time, so that memory is bounded
by `BUDGET` whatever the collection's size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from indexing import kernels_seismic_build as kernels
from indexing.config_seismic import GlobalThresholdPruning, Pruning
from indexing.forward import ForwardIndex
from indexing.threads import run_parallel
from lsr.core.sparse import Int32Array, Int64Array, UInt16Array

__all__ = ["BUDGET", "Postings", "pruned_lists"]

BUDGET = 100_000_000
"""Postings gathered at once, six bytes each, unless one list has more."""

_PART_ROWS = 65_536


class Postings:
    """The kept postings of consecutive terms.

    Attributes
    ----------
    first : int
        The first of the terms.
    lists : list of int32 arrays
        Rows by term, ascending.
    """

    def __init__(self, first: int, lists: list[Int32Array]) -> None:
        self.first = first
        self.lists = lists


def pruned_lists(forward: ForwardIndex, pruning: Pruning, *, n_threads: int) -> Iterator[Postings]:
    """Yield the kept postings of all terms, range by range, in the order of the terms."""
    threshold, cap = _rule(forward, pruning)
    bounds = np.append(np.arange(0, forward.n_documents, _PART_ROWS), forward.n_documents)
    counts = _count(forward, bounds, threshold, n_threads)
    totals = counts.sum(axis=0)
    for low, high in _ranges(totals, BUDGET):
        yield Postings(
            low, _gather(forward, bounds, counts, (low, high), threshold, cap, n_threads)
        )


def _rule(forward: ForwardIndex, pruning: Pruning) -> tuple[int, int]:
    """Return the smallest fine bits that are kept, and the cap of a list."""
    if not isinstance(pruning, GlobalThresholdPruning):
        return 1, pruning.n_postings
    histogram = np.zeros(65_536, dtype=np.int64)
    step = 1 << 24
    for at in range(0, len(forward.fine), step):
        histogram += np.bincount(forward.fine[at : at + step], minlength=65_536)
    # kept[b]: entries with bits of at least b. Bits of 0 are weights of 0.
    kept = np.cumsum(histogram[::-1])[::-1]
    wanted = pruning.n_postings * forward.vocabulary_size
    enough = np.flatnonzero(kept[1:] >= wanted)
    threshold = int(enough[-1]) + 1 if len(enough) else 1
    return threshold, int(pruning.n_postings * pruning.max_fraction)


def _count(forward: ForwardIndex, bounds: Int64Array, threshold: int, n_threads: int) -> Int64Array:
    """Return the kept entries by part of the rows and term."""
    counts = np.zeros((len(bounds) - 1, forward.vocabulary_size), dtype=np.int64)

    def count(part: int) -> None:
        here = slice(*forward.pointers[bounds[part : part + 2]].tolist())
        kernels.count_postings(forward.terms[here], forward.fine[here], threshold, counts[part])

    run_parallel(count, len(counts), n_threads)
    return counts


def _ranges(totals: Int64Array, budget: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of terms with at most `budget` postings, or one term with more."""
    ends = np.cumsum(totals)
    low, taken = 0, 0
    while low < len(totals):
        high = max(int(np.searchsorted(ends, taken + budget, side="right")), low + 1)
        yield low, high
        low, taken = high, int(ends[high - 1])


def _gather(
    forward: ForwardIndex,
    bounds: Int64Array,
    counts: Int64Array,
    terms: tuple[int, int],
    threshold: int,
    cap: int,
    n_threads: int,
) -> list[Int32Array]:
    low, high = terms
    here = counts[:, low:high]
    starts = np.concatenate([[0], np.cumsum(here.sum(axis=0))])
    rows: Int32Array = np.empty(int(starts[-1]), dtype=np.int32)
    fine: UInt16Array = np.empty(int(starts[-1]), dtype=np.uint16)
    # Each part of the rows writes behind the parts before it: the result is in row order.
    before = np.cumsum(here, axis=0) - here

    def scatter(part: int) -> None:
        cursor = np.zeros(forward.vocabulary_size, dtype=np.int64)
        cursor[low:high] = starts[:-1] + before[part]
        first, last = int(bounds[part]), int(bounds[part + 1])
        kernels.scatter_postings(
            forward.pointers,
            forward.terms,
            forward.fine,
            first,
            last,
            threshold,
            low,
            high,
            cursor,
            rows,
            fine,
        )

    run_parallel(scatter, len(counts), n_threads)
    lists: list[Int32Array] = []
    scratch = np.empty(256, dtype=np.int64)
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        kept = np.empty(min(stop - start, cap), dtype=np.int32)
        kernels.cap_list(rows[start:stop], fine[start:stop], cap, kept, scratch)
        lists.append(kept)
    return lists
