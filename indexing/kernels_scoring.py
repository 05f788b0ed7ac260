"""Numba kernels that visit blocks and score their documents: 8 bits to choose, half floats to rank.

Weights are in the units of the stored half floats until a score leaves: one multiplication by a
power of two.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import half_to_float, jit, prefetch
from indexing.kernels import heap_insert
from indexing.kernels_geometry import BLOCK_ROWS

__all__ = [
    "is_allowed",
    "kth_units",
    "push_fine",
    "rescore",
    "score_coarse",
    "score_fine",
    "visit_coarse",
    "visit_fine",
]

U = np.uint64

_AHEAD = 3
"""Blocks that are asked for before they are visited; their pointers twice as early."""

_ROW_MASK = np.uint64(0xFFFFFFFF)


@jit
def score_coarse(documents, query, position):
    """Return a document's inner product with the query, both in 8 bits."""
    total = np.int32(0)
    start = U(documents.pointers[U(position)])
    stop = U(documents.pointers[U(position) + U(1)])
    for p in range(start, stop):
        total += np.int32(query[U(documents.terms[p])]) * np.int32(documents.coarse[p])
    return total


@jit
def score_fine(documents, query, position):
    """Return a document's score in float32, summed as even postings plus odd ones.

    The two sums run side by side; products are rounded (no fused multiply-add), so the bits of the
    result are the same on every machine.
    """
    terms = documents.terms
    fine = documents.fine
    p = U(documents.pointers[U(position)])
    stop = U(documents.pointers[U(position) + U(1)])
    even = np.float32(0)
    odd = np.float32(0)
    while p + U(1) < stop:
        even += query[U(terms[p])] * half_to_float(fine[p])
        odd += query[U(terms[p + U(1)])] * half_to_float(fine[p + U(1)])
        p += U(2)
    if p < stop:
        even += query[U(terms[p])] * half_to_float(fine[p])
    return even + odd


@jit
def block_end(block, n_documents):
    """Return the position after a block's last document."""
    return min(U(n_documents), (U(block) + U(1)) * U(BLOCK_ROWS))


@jit
def prefetch_postings(documents, weights, first, last):
    """Ask for the terms and the weights (coarse or fine) of the documents ``first:last``."""
    p = U(documents.pointers[U(first)])
    stop = U(documents.pointers[U(last)])
    while p < stop:
        prefetch(documents.terms, p)
        prefetch(weights, p)
        p += U(32)


@jit
def prefetch_block(documents, weights, block):
    """Ask for a block's postings."""
    last = block_end(block, len(documents.rows))
    prefetch_postings(documents, weights, U(block) * U(BLOCK_ROWS), last)


@jit
def is_allowed(allowed, row):
    """Return whether the bit of a row is set."""
    return (allowed[U(row) >> U(6)] >> (U(row) & U(63))) & U(1) != U(0)


@jit
def push_fine(score, row, inverse_fine_scale, result, size, k):
    """Insert a document into the result heap if it belongs there; return the new size."""
    result.cell[0] = score * inverse_fine_scale
    if result.cell[0] <= 0:
        return size
    key = (U(result.cell_bits[0]) << U(32)) | (_ROW_MASK - U(row))
    if size < k or key > result.heap[0]:
        return heap_insert(result.heap, size, k, key)
    return size


@jit
def kth_units(result, scale, inverse_fine_scale):
    """Return the k-th score in units of estimates, rounded down with a margin for float32 sums."""
    result.cell_bits[0] = np.int32(result.heap[0] >> U(32))
    units = np.float64(result.cell[0]) / np.float64(inverse_fine_scale) * scale
    return np.int64(np.floor(units * (1 - 1e-4)))


@jit
def visit_coarse(
    candidates, n_candidates, max_visits, bar_factor, documents, query, allowed, k, found
):
    """Score the documents of blocks in 8 bits, best block first.

    Ends after `max_visits` blocks once k documents matched, or when a block's estimate times
    `bar_factor` (coarse score a unit, over the heap factor; 0: never) is below the k-th score.

    Parameters
    ----------
    candidates : Candidates
    n_candidates, max_visits : int
    bar_factor : float
    documents : Documents
    query : uint8, shape (n_terms,)
    allowed : uint64
        See `clustered_search`.
    k : int
    found : Found
        Updated.
    """
    n_documents = U(len(documents.rows))
    filtered = len(allowed) > 0
    heap_size = found.state[0]
    n_found = U(found.state[1])
    n_visited = U(found.state[2])
    n = U(n_candidates)
    blocks = candidates.blocks
    order = candidates.order
    for i in range(min(U(_AHEAD), n)):
        prefetch_block(documents, documents.coarse, blocks[order[i]])
    for i in range(n):
        at = order[i]
        if heap_size == k:
            if i >= U(max_visits):
                break
            if bar_factor > 0 and candidates.estimates[at] * bar_factor < np.float64(found.heap[0]):
                found.state[3] = 1
                break
        if i + U(2 * _AHEAD) < n:
            prefetch(documents.pointers, U(blocks[order[i + U(2 * _AHEAD)]]) * U(BLOCK_ROWS))
        if i + U(_AHEAD) < n:
            prefetch_block(documents, documents.coarse, blocks[order[i + U(_AHEAD)]])
        block = blocks[at]
        found.blocks[n_visited] = block
        n_visited += U(1)
        for position in range(U(block) * U(BLOCK_ROWS), block_end(block, n_documents)):
            if filtered and not is_allowed(allowed, documents.rows[position]):
                continue
            score = score_coarse(documents, query, position)
            found.scores[n_found] = score
            found.positions[n_found] = np.int32(position)
            n_found += U(1)
            if score > 0 and (heap_size < k or score > found.heap[0]):
                heap_size = heap_insert(found.heap, heap_size, k, score)
    found.state[0] = heap_size
    found.state[1] = np.int64(n_found)
    found.state[2] = np.int64(n_visited)


@jit
def rescore(found, least, documents, query, inverse_fine_scale, result, k):
    """Score the found documents of at least `least` from half floats.

    Parameters
    ----------
    found : Found
        Its positions are moved.
    least : int
    documents : Documents
    query : float32, shape (n_terms,)
    inverse_fine_scale : float32
    result : Result
    k : int

    Returns
    -------
    int, int
        The size of the result heap; the number of documents scored.
    """
    n = U(0)
    for i in range(U(found.state[1])):
        if found.scores[i] >= least:
            position = found.positions[i]
            found.positions[n] = position
            n += U(1)
            prefetch_postings(documents, documents.fine, position, U(position) + U(1))
    size = 0
    for i in range(n):
        position = U(found.positions[i])
        score = score_fine(documents, query, position)
        size = push_fine(score, documents.rows[position], inverse_fine_scale, result, size, k)
    return size, np.int64(n)


@jit
def visit_fine(
    candidates,
    n_candidates,
    slack,
    scale,
    documents,
    query,
    allowed,
    inverse_fine_scale,
    result,
    size,
    k,
    stats,
):
    """Score the documents of the blocks whose bound reaches the k-th score; return the heap's size.

    Parameters
    ----------
    candidates : Candidates
    n_candidates, slack : int
        `slack` is added to every bound.
    scale : float
        Units of a score of 1.
    documents : Documents
    query : float32, shape (n_terms,)
    allowed, inverse_fine_scale
        See `clustered_search`.
    result : Result
    size, k : int
    stats : int64
        Blocks visited and documents scored are added.
    """
    n_documents = U(len(documents.rows))
    # With a bar of 0 the slots that pad the rows are listed too; no document is in them.
    n_blocks = (n_documents + U(BLOCK_ROWS) - U(1)) // U(BLOCK_ROWS)
    filtered = len(allowed) > 0
    n = U(n_candidates)
    blocks = candidates.blocks
    order = candidates.order
    bar = np.int64(0)
    if size == k:
        bar = kth_units(result, scale, inverse_fine_scale) - slack
    for i in range(n):
        at = order[i]
        if np.int64(candidates.estimates[at]) < bar:
            # Buckets are coarse: a later block of the same bucket may still reach it.
            if (U(candidates.estimates[at]) >> U(8)) < (U(bar) >> U(8)):
                break
            continue
        if U(blocks[at]) >= n_blocks:
            continue
        if i + U(2 * _AHEAD) < n:
            prefetch(documents.pointers, U(blocks[order[i + U(2 * _AHEAD)]]) * U(BLOCK_ROWS))
        if i + U(_AHEAD) < n:
            ahead = order[i + U(_AHEAD)]
            if np.int64(candidates.estimates[ahead]) >= bar and U(blocks[ahead]) < n_blocks:
                prefetch_block(documents, documents.fine, blocks[ahead])
        stats[1] += 1
        grown = False
        for position in range(U(blocks[at]) * U(BLOCK_ROWS), block_end(blocks[at], n_documents)):
            row = documents.rows[position]
            if filtered and not is_allowed(allowed, row):
                continue
            stats[2] += 1
            score = score_fine(documents, query, position)
            worst = result.heap[0]
            before = size
            size = push_fine(score, row, inverse_fine_scale, result, size, k)
            grown = grown or size != before or (size > 0 and result.heap[0] != worst)
        if grown and size == k:
            bar = kth_units(result, scale, inverse_fine_scale) - slack
    return size
