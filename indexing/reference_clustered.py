"""Clustered search in plain numpy: the whole of it by brute force, and its steps one by one.

The steps take what the kernels of the same names take and give what they give; scratch arguments
are ignored. Where a kernel lists blocks in no order that means anything, the twin lists them by
number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.filters import rows_of
from indexing.kernels_arrays import Candidates, Documents, Maxima, Opened, Query, Sums, Terms
from indexing.kernels_geometry import (
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    CHUNK_PARTS,
    GROUP,
    PART_BYTES,
    PART_SUPERS,
    SUPER_BLOCKS,
)
from indexing.kernels_query import MAX_TERMS

__all__ = [
    "add_dense",
    "bound_blocks",
    "clustered_search",
    "collect_blocks",
    "collect_chosen",
    "collect_opened",
    "estimate_blocks",
    "fill_table",
    "find_parts",
    "largest_score",
    "open_super_blocks",
    "order_blocks",
    "score_coarse",
    "score_fine",
    "slots_of",
    "super_blocks_of",
]

Array = Any


def slots_of(n_blocks: int, row_bytes: int) -> Array:
    """Return where each block's sum stands, counted over all chunks."""
    block = np.arange(n_blocks)
    start = block // CHUNK_BLOCKS * CHUNK_BYTES
    size = np.minimum(CHUNK_BYTES, row_bytes - start)
    local = block % CHUNK_BLOCKS
    return 2 * start + local // 16 * 8 + local % 8 + (local // 8 % 2) * size


def _tops(sums: Sums) -> None:
    """Fill the maxima of groups and top groups of all chunks."""
    row_bytes = len(sums.blocks) // 2
    for start in range(0, row_bytes, CHUNK_BYTES):
        stop = min(row_bytes, start + CHUNK_BYTES)
        here = sums.blocks[2 * start : 2 * stop].reshape(GROUP, -1).max(axis=0)
        sums.groups[start // 4 : stop // 4] = here
        sums.tops[start // 32 : stop // 32] = here.reshape(GROUP, -1).max(axis=0)


def add_dense(
    low: Array,
    high: Array,
    dense: Array,
    row_bytes: int,
    start: int,
    n: int,
    rows: Array,
    weights: Array,
    n_rows: int,
) -> None:
    """Add rows of 4-bit levels, each times its weight, to accumulators."""
    for row, weight in zip(rows[:n_rows], weights[:n_rows], strict=True):
        levels = dense[row * row_bytes + start : row * row_bytes + start + n].astype(np.uint16)
        low[:n] += (levels & 15) * weight
        high[:n] += (levels >> 4) * weight


def _levels(maxima: Maxima, term: int, row_bytes: int) -> Array:
    """Return the level of a term in every sum: of 15 if it has a dense row, else of 255."""
    n_terms = len(maxima.term_max)
    found = np.zeros(2 * row_bytes, dtype=np.int64)
    for chunk, start in enumerate(range(0, row_bytes, CHUNK_BYTES)):
        stop = min(row_bytes, start + CHUNK_BYTES)
        if maxima.dense_row[term] >= 0:
            at = maxima.dense_row[term] * row_bytes
            row = maxima.dense[at + start : at + stop]
            found[2 * start : 2 * stop] = np.concatenate([row & 15, row >> 4])
        else:
            n_parts = -(-(stop - start) // PART_BYTES)
            at = chunk * (n_terms * CHUNK_PARTS + 1) + term * n_parts
            first, last = maxima.list_pointers[[at, at + n_parts]].astype(np.int64)
            here = slice(maxima.list_bases[chunk] + first, maxima.list_bases[chunk] + last)
            slots = 2 * start + maxima.list_slots[here].astype(np.int64)
            found[slots] = maxima.list_levels[here]
    return found


def bound_blocks(query: Query, maxima: Maxima, scale: float, scratch: Terms, sums: Sums) -> None:
    """Write an upper bound, in units, of the score that each block's documents can have."""
    total = np.zeros(len(sums.blocks), dtype=np.int64)
    for term, weight in zip(query.terms[:MAX_TERMS], query.weights[:MAX_TERMS], strict=True):
        levels = _levels(maxima, term, len(sums.blocks) // 2)
        unit = float(weight) * float(maxima.term_max[term]) * scale
        if maxima.dense_row[term] >= 0:
            total += levels * int(np.ceil(unit / 15))
        else:
            total += (levels * int(np.ceil(unit * (65536 / 255))) + 65535) >> 16
    sums.blocks[:] = total
    _tops(sums)


def fill_table(unit: float, tables: Array, at: int) -> None:
    """Write what each 4-bit level of a term adds to an 8-bit estimate; `unit` is one level's."""
    tables[at : at + 16] = np.minimum((np.arange(16) - 0.5) * unit + 0.5, 255).astype(np.int64)
    tables[at] = 0


def estimate_blocks(
    query: Query, maxima: Maxima, threshold: float, scale: float, scratch: Terms, sums: Sums
) -> None:
    """Write an estimate in 8 bits of the best score in each block; sums stay at 255."""
    used = np.flatnonzero(query.weights >= threshold)
    total = np.zeros(len(sums.blocks), dtype=np.int64)
    table = np.zeros(16, dtype=np.int64)
    for term, weight in zip(query.terms[used], query.weights[used], strict=True):
        levels = _levels(maxima, term, len(sums.blocks) // 2)
        unit = float(weight) * float(maxima.term_max[term]) * scale
        if maxima.dense_row[term] >= 0:
            fill_table(unit / 15, table, 0)
            total += table[levels]
        else:
            total += (levels * int(np.ceil(unit * (65536 / 255))) + 32768) >> 16
    sums.blocks[:] = np.minimum(total, 255)
    _tops(sums)


def super_blocks_of(ids: Array, n: int, shift: int, bits: Array) -> int:
    """Replace ids of wide blocks by those of their super-blocks, ascending, once each."""
    found = np.unique(ids[:n] >> shift)
    ids[: len(found)] = found
    return len(found)


def find_parts(ids: Array, n: int, parts: Array, firsts: Array) -> int:
    """Write the parts of super-blocks, and where in ``ids[:n]`` each begins; return how many."""
    found, at = np.unique(ids[:n] // PART_SUPERS, return_index=True)
    parts[: len(found)] = found
    firsts[: len(found) + 1] = [*at, n]
    return len(found)


def open_super_blocks(
    query: Query,
    maxima: Maxima,
    threshold: float,
    scale: float,
    row_bytes: int,
    tables: Array,
    opened: Opened,
    n_opened: int,
    sums: Sums,
) -> int:
    """Estimate in 8 bits the blocks of some super-blocks: those estimates of all blocks."""
    every = Sums(*(np.zeros(2 * row_bytes // size, np.uint8) for size in (1, 8, 64)))
    estimate_blocks(query, maxima, threshold, scale, _NO_TERMS, every)
    n_sums = -(-n_opened // 64) * 64 * SUPER_BLOCKS
    slots = slots_of(2 * row_bytes, row_bytes).reshape(-1, SUPER_BLOCKS)
    here = np.zeros(n_sums, dtype=np.uint8)
    here[: n_opened * SUPER_BLOCKS] = every.blocks[slots[opened.ids[:n_opened]]].reshape(-1)
    sums.blocks[:n_sums] = here
    groups = here.reshape(GROUP, -1).max(axis=0, initial=0)
    sums.groups[: n_sums // 8] = groups
    sums.tops[: n_sums // 64] = groups.reshape(GROUP, -1).max(axis=0, initial=0)
    return n_sums


def _collect(
    values: Array, blocks: Array, least: int, below: int, shift: int, candidates: Candidates
) -> int:
    """List the blocks with a value in ``[least, below)``; return how many."""
    values = values.astype(np.int64)
    inside = np.flatnonzero((values >= least) & (values < below))
    candidates.blocks[: len(inside)] = blocks[inside]
    candidates.estimates[: len(inside)] = values[inside] << shift
    return len(inside)


def collect_blocks(sums: Sums, least: int, below: int, shift: int, candidates: Candidates) -> int:
    """List the blocks with an estimate in ``[least, below)``; return how many."""
    blocks = np.arange(len(sums.blocks))
    values = sums.blocks[slots_of(len(blocks), len(blocks) // 2)]
    return _collect(values, blocks, least, below, shift, candidates)


def collect_opened(sums: Sums, ids: Array, least: int, below: int, candidates: Candidates) -> int:
    """List the blocks of opened super-blocks with an estimate in ``[least, below)``."""
    n = len(sums.blocks) // SUPER_BLOCKS
    blocks = (ids[:n, None].astype(np.int64) * SUPER_BLOCKS + np.arange(SUPER_BLOCKS)).reshape(-1)
    return _collect(sums.blocks, blocks, least, below, 8, candidates)


def collect_chosen(
    sums: Sums, chosen: Array, least: int, below: int, shift: int, candidates: Candidates
) -> int:
    """List the blocks of `chosen` with an estimate in ``[least, below)``; return how many."""
    n = len(sums.blocks)
    values = sums.blocks[slots_of(n, n // 2)[chosen]]
    return _collect(values, chosen, least, below, shift, candidates)


def order_blocks(candidates: Candidates, n: int) -> None:
    """Order the first `n` candidates, the better first (in 256 buckets)."""
    buckets = candidates.estimates[:n].astype(np.int64) >> 8
    candidates.order[:n] = np.argsort(-buckets, kind="stable")


def largest_score(query: Query, threshold: float, term_max: Array) -> float:
    """Return the most that the terms from `threshold` on could give a document."""
    used = query.weights >= threshold
    products = query.weights[used].astype(np.float64) * term_max[query.terms[used]]
    return float(products.sum())


def score_coarse(documents: Documents, query: Array, position: int) -> int:
    """Return a document's inner product with the query, both in 8 bits."""
    here = slice(documents.pointers[position], documents.pointers[position + 1])
    weights = query[documents.terms[here].astype(np.int64)].astype(np.int64)
    return int(weights @ documents.coarse[here].astype(np.int64))


def score_fine(documents: Documents, query: Array, position: int) -> Any:
    """Return a document's score in float32, summed as even postings plus odd ones."""
    here = slice(documents.pointers[position], documents.pointers[position + 1])
    weights = documents.fine[here].view(np.float16).astype(np.float32)
    products = query[documents.terms[here].astype(np.int64)] * weights
    even, odd = np.float32(0), np.float32(0)
    for value in products[0::2]:
        even += value
    for value in products[1::2]:
        odd += value
    return even + odd


def clustered_search(
    documents: Documents,
    inverse_fine_scale: Any,
    query: Query,
    k: int,
    allowed: Array,
    n_terms: int,
) -> tuple[Array, Array]:
    """Return the exact best `k` rows and scores by scoring every document."""
    weights = np.zeros(n_terms, dtype=np.float32)
    weights[query.terms] = query.weights
    n = len(documents.rows)
    scores = np.zeros(n, dtype=np.float32)
    for position in range(n):
        score = score_fine(documents, weights, position) * inverse_fine_scale
        scores[documents.rows[position]] = score
    rows = np.flatnonzero(scores > 0)
    if len(allowed):
        rows = np.intersect1d(rows, rows_of(allowed, n))
    best = rows[np.lexsort((rows, -scores[rows]))][:k]
    return best.astype(np.int32), scores[best]


_NO_TERMS = Terms(*(np.empty(0) for _ in Terms._fields))
