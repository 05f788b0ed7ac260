"""Numba kernels that select: a threshold, the blocks that reach it, the best first."""

from __future__ import annotations

import numpy as np

from indexing.jit import jit
from indexing.kernels_geometry import (
    CHUNK_BYTES,
    GROUP,
    SUPER_BLOCKS,
    block_of,
    chunk_size,
    slot_of,
)

__all__ = [
    "NO_BOUND",
    "collect_blocks",
    "collect_chosen",
    "collect_opened",
    "collect_slots",
    "count_from",
    "order_blocks",
    "threshold_for",
]

U = np.uint64

NO_BOUND = 1 << 20
"""Above every estimate."""


@jit
def count_from(values, least):
    """Return how many values are at least `least`."""
    count = np.uint32(0)
    for i in range(U(len(values))):
        count += np.uint32(values[i] >= least)
    return count


@jit
def threshold_for(sums, wanted, one):
    """Return a threshold, at least 1, that about `wanted` blocks reach if so many are not 0.

    Parameters
    ----------
    sums : Sums
    wanted : int
        Where few are wanted, groups are counted in place of blocks: members of a group lie far
        apart, so that hardly two of them are among the best.
    one : uint8 or uint16
        1, in the type of the sums.
    """
    values = sums.blocks
    if np.int64(wanted) * 4 <= len(sums.tops):
        values = sums.tops
    elif np.int64(wanted) * 4 <= len(sums.groups):
        values = sums.groups
    best = one
    for i in range(U(len(sums.tops))):
        best = max(best, sums.tops[i])
    low = np.int64(1)
    high = np.int64(best) + 1
    step = max(np.int64(1), high >> 8)
    while high - low > step:
        middle = (low + high) >> 1
        if np.int64(count_from(values, one * np.uint16(middle))) >= wanted:
            low = middle
        else:
            high = middle
    return low


@jit
def collect_slots(blocks, groups, tops, least, below, shift, candidates, n):
    """List the slots with an estimate in ``[least, below)``, shifted to 16 bits.

    Parameters
    ----------
    blocks, groups, tops : uint8 or uint16
        Of one chunk.
    least, below, shift : int
        `shift` is 8 where the sums are bytes.
    candidates : Candidates
        ``blocks`` and ``estimates`` are written from the `n`-th on.
    n : int

    Returns
    -------
    int
        `n` plus how many were listed.
    """
    n = U(n)
    n_groups = U(len(groups))
    n_tops = U(len(tops))
    for top in range(n_tops):
        if tops[top] < least:
            continue
        group = top
        for _ in range(GROUP):
            if groups[group] >= least:
                slot = group
                for _ in range(GROUP):
                    value = np.int64(blocks[slot])
                    if value >= least and value < below:
                        candidates.blocks[n] = np.uint32(slot)
                        candidates.estimates[n] = np.uint16(value << np.int64(shift))
                        n += U(1)
                    slot += n_groups
            group += n_tops
    return n


@jit
def collect_blocks(sums, least, below, shift, candidates):
    """List the blocks with an estimate in ``[least, below)``; return how many.

    Parameters are those of `collect_slots`, of all chunks.
    """
    n = U(0)
    row_bytes = U(len(sums.blocks)) >> U(1)
    for chunk in range((row_bytes + U(CHUNK_BYTES - 1)) // U(CHUNK_BYTES)):
        start = chunk * U(CHUNK_BYTES)
        chunk_bytes = chunk_size(chunk, row_bytes)
        stop = start + chunk_bytes
        before = n
        n = collect_slots(
            sums.blocks[U(2) * start : U(2) * stop],
            sums.groups[start >> U(2) : stop >> U(2)],
            sums.tops[start >> U(5) : stop >> U(5)],
            np.int64(least),
            np.int64(below),
            shift,
            candidates,
            n,
        )
        for i in range(before, n):
            slot = candidates.blocks[i]
            candidates.blocks[i] = np.uint32(block_of(slot, chunk_bytes, chunk))
    return np.int64(n)


@jit
def collect_opened(sums, ids, least, below, candidates):
    """List the blocks of opened super-blocks with an estimate in ``[least, below)``.

    Parameters are those of `collect_blocks`; `ids` are the super-blocks.
    """
    n = collect_slots(
        sums.blocks,
        sums.groups,
        sums.tops,
        np.int64(least),
        np.int64(below),
        8,
        candidates,
        U(0),
    )
    for i in range(n):
        slot = U(candidates.blocks[i])
        block = U(ids[slot >> U(4)]) * U(SUPER_BLOCKS) + (slot & U(15))
        candidates.blocks[i] = np.uint32(block)
    return np.int64(n)


@jit
def collect_chosen(sums, chosen, least, below, shift, candidates):
    """List the blocks of `chosen` with an estimate in ``[least, below)``; return how many."""
    n = U(0)
    row_bytes = len(sums.blocks) >> 1
    for i in range(U(len(chosen))):
        value = np.int64(sums.blocks[slot_of(chosen[i], row_bytes)])
        if value >= least and value < below:
            candidates.blocks[n] = chosen[i]
            candidates.estimates[n] = np.uint16(value << np.int64(shift))
            n += U(1)
    return np.int64(n)


@jit
def order_blocks(candidates, n):
    """Order the first `n` candidates, the better first (in 256 buckets)."""
    counts = candidates.counts
    for i in range(U(257)):
        counts[i] = 0
    for i in range(U(n)):
        counts[U(256) - (U(candidates.estimates[i]) >> U(8))] += 1
    total = np.int64(0)
    for i in range(U(257)):
        here = counts[i]
        counts[i] = total
        total += here
    for i in range(U(n)):
        bucket = U(256) - (U(candidates.estimates[i]) >> U(8))
        candidates.order[U(counts[bucket])] = np.uint32(i)
        counts[bucket] += 1
