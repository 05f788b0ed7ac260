"""Numba kernels of clustered search: estimate all blocks, visit the best, score exactly.

Rules as in `indexing.kernels`; the geometry of blocks is in `indexing.kernels_blocks`. Weights are
in the units of the stored half floats until a score leaves: one multiplication by a power of two.

Estimates are integers that never understate: the *scale* turns a score into units such that all
query terms together stay within 16 bits. Twins are in `indexing.reference_clustered`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import half_to_float, jit, prefetch
from indexing.kernels import heap_drain, heap_insert
from indexing.kernels_blocks import (
    BLOCK_ROWS,
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    CHUNK_PARTS,
    PART_BLOCKS,
    SUPER_BLOCKS,
    list_at,
    part_at,
    parts_of,
)
from indexing.lookup import STEP_BYTES, add_levels, add_super_block

__all__ = [
    "GROUP",
    "MAX_TERMS",
    "STATS",
    "add_dense",
    "block_of",
    "bound_blocks",
    "clustered_search",
    "estimate_blocks",
    "score_fine",
    "slot_of",
    "threshold_for",
]

U = np.uint64

GROUP = 8
"""Blocks a group, and groups a top group. Members lie an eighth of a chunk apart: neighbours, which
are alike, are in different groups, so that about as many blocks as groups reach a threshold."""

MAX_TERMS = 2_048
"""Query terms that take part in estimates; the others add a constant to every bound."""

STATS = 4
"""Counters a query leaves: blocks estimated above the threshold, blocks visited, documents scored,
documents scored again."""

_TILE_BYTES = 8_192
_AHEAD = 16
_LIMIT = 65_535
_ESTIMATE_UNITS = 384
_NO_BOUND = 1 << 20
_ROW_MASK = np.uint64(0xFFFFFFFF)


@jit
def block_of(position, chunk_bytes, chunk):
    """Return the block at a slot of a chunk."""
    high = U(0)
    byte = U(position)
    if byte >= U(chunk_bytes):
        high = U(1)
        byte -= U(chunk_bytes)
    local = (byte >> U(3)) * U(SUPER_BLOCKS) + high * U(8) + (byte & U(7))
    return U(chunk) * U(CHUNK_BLOCKS) + local


@jit
def term_threshold(weights, mass, max_terms):
    """Return the smallest weight of the heaviest terms that cover `mass` of all weight.

    At most about `max_terms` terms are at or above it; 0 if all terms are.
    """
    n = U(len(weights))
    total = np.float64(0)
    heaviest = np.float32(0)
    for j in range(n):
        total += np.float64(weights[j])
        heaviest = max(heaviest, weights[j])
    if mass >= 1 and n <= U(max_terms):
        return np.float32(0)
    wanted = np.float64(mass) * total
    low = np.float32(0)
    high = heaviest
    # Largest threshold whose terms cover the mass (or smallest that leaves few enough).
    for _ in range(24):
        middle = np.float32(0.5) * (low + high)
        covered = np.float64(0)
        count = U(0)
        for j in range(n):
            if weights[j] >= middle:
                covered += np.float64(weights[j])
                count += U(1)
        if covered >= wanted or count > U(max_terms):
            low = middle
        else:
            high = middle
    return low


@jit
def add_dense(low, high, dense, row_bytes, start, n, rows, weights, n_rows):
    """Add rows of 4-bit levels, each times its weight, to accumulators; wraps at 16 bits.

    Parameters
    ----------
    low, high : uint16, shape (>= n,)
        Accumulators of the low and high halves of the bytes.
    dense : uint8, shape (n_dense * row_bytes,)
    row_bytes : int
    start, n : int
        Bytes ``start:start + n`` of the rows.
    rows : int64, shape (>= n_rows,)
    weights : uint16, shape (>= n_rows,)
    n_rows : int
    """
    mask = np.uint16(15)
    shift = np.uint16(4)
    j = U(0)
    while j + U(4) <= U(n_rows):
        # Slices make the bounds plain to the vectoriser.
        s0 = U(rows[j]) * U(row_bytes) + U(start)
        s1 = U(rows[j + U(1)]) * U(row_bytes) + U(start)
        s2 = U(rows[j + U(2)]) * U(row_bytes) + U(start)
        s3 = U(rows[j + U(3)]) * U(row_bytes) + U(start)
        d0 = dense[s0 : s0 + U(n)]
        d1 = dense[s1 : s1 + U(n)]
        d2 = dense[s2 : s2 + U(n)]
        d3 = dense[s3 : s3 + U(n)]
        w0 = weights[j]
        w1 = weights[j + U(1)]
        w2 = weights[j + U(2)]
        w3 = weights[j + U(3)]
        for x in range(U(n)):
            e0 = np.uint16(d0[x])
            e1 = np.uint16(d1[x])
            e2 = np.uint16(d2[x])
            e3 = np.uint16(d3[x])
            low[x] = np.uint16(
                low[x]
                + np.uint16(e0 & mask) * w0
                + np.uint16(e1 & mask) * w1
                + np.uint16(e2 & mask) * w2
                + np.uint16(e3 & mask) * w3
            )
            high[x] = np.uint16(
                high[x]
                + np.uint16(e0 >> shift) * w0
                + np.uint16(e1 >> shift) * w1
                + np.uint16(e2 >> shift) * w2
                + np.uint16(e3 >> shift) * w3
            )
        j += U(4)
    while j < U(n_rows):
        s0 = U(rows[j]) * U(row_bytes) + U(start)
        d0 = dense[s0 : s0 + U(n)]
        w0 = weights[j]
        for x in range(U(n)):
            e0 = np.uint16(d0[x])
            low[x] = np.uint16(low[x] + np.uint16(e0 & mask) * w0)
            high[x] = np.uint16(high[x] + np.uint16(e0 >> shift) * w0)
        j += U(1)


@jit
def group_maxima(accumulator, groups):
    """Write the maximum of every `GROUP` accumulators that lie ``len(groups)`` apart."""
    n = U(len(groups))
    a0 = accumulator[U(0) : n]
    a1 = accumulator[n : U(2) * n]
    a2 = accumulator[U(2) * n : U(3) * n]
    a3 = accumulator[U(3) * n : U(4) * n]
    a4 = accumulator[U(4) * n : U(5) * n]
    a5 = accumulator[U(5) * n : U(6) * n]
    a6 = accumulator[U(6) * n : U(7) * n]
    a7 = accumulator[U(7) * n : U(8) * n]
    for x in range(n):
        best = max(max(a0[x], a1[x]), max(a2[x], a3[x]))
        groups[x] = max(best, max(max(a4[x], a5[x]), max(a6[x], a7[x])))


@jit
def largest_score(query_terms, query_weights, threshold, term_max):
    """Return the most that the terms from `threshold` on could give a document."""
    bound = np.float64(0)
    for j in range(U(len(query_terms))):
        if query_weights[j] >= threshold:
            bound += np.float64(query_weights[j]) * np.float64(term_max[U(query_terms[j])])
    return bound


@jit
def bound_scale(n_terms, bound):
    """Return the units of a score of 1 with which the sum of all bounds fits in 16 bits."""
    # Every term is rounded up: by less than 15 units in a dense row, 1 in a list.
    return (np.float64(_LIMIT) - np.float64(16) * np.float64(min(n_terms, MAX_TERMS))) / bound


@jit
def bound_blocks(
    query_terms,
    query_weights,
    threshold,
    scale,
    n_terms,
    term_max,
    dense_row,
    dense,
    list_bases,
    list_pointers,
    list_slots,
    list_levels,
    rows,
    weights,
    accumulator,
    groups,
    tops,
):
    """Write an upper bound, in units, of the score that each block's documents can have.

    Parameters
    ----------
    query_terms, query_weights : int32, float32, shape (nnz,)
    threshold : float
        Terms below this weight are left out.
    scale : float
        Units of a score of 1.
    n_terms : int
    term_max, dense_row, dense, list_bases, list_pointers, list_slots, list_levels
        See `indexing.blocks.BlockMaxima`.
    rows, weights : int64, uint16, shape (>= MAX_TERMS,)
        Scratch.
    accumulator : uint16, shape (2 * row_bytes,)
        By chunk, then slot.
    groups, tops : uint16, shape (row_bytes // 4,), (row_bytes // 32,)
        Maxima of groups and of top groups, by chunk.
    """
    row_bytes = U(len(accumulator)) >> U(1)
    n_rows = U(0)
    n_query = U(len(query_terms))
    n_used = U(0)
    for j in range(n_query):
        t = U(query_terms[j])
        if query_weights[j] < threshold or n_used == U(MAX_TERMS):
            continue
        n_used += U(1)
        if dense_row[t] >= 0:
            unit = np.float64(query_weights[j]) * np.float64(term_max[t]) * scale / np.float64(15)
            rows[n_rows] = dense_row[t]
            weights[n_rows] = np.uint16(np.ceil(unit))
            n_rows += U(1)
    chunk = U(0)
    chunk_start = U(0)
    while chunk_start < row_bytes:
        chunk_bytes = min(U(CHUNK_BYTES), row_bytes - chunk_start)
        here = accumulator[U(2) * chunk_start : U(2) * (chunk_start + chunk_bytes)]
        base = U(list_bases[chunk])
        for x in range(U(2) * chunk_bytes):
            here[x] = np.uint16(0)
        n_used = U(0)
        for j in range(n_query):
            t = U(query_terms[j])
            if query_weights[j] < threshold or n_used == U(MAX_TERMS):
                continue
            n_used += U(1)
            if dense_row[t] < 0:
                at = list_at(chunk, chunk_bytes, n_terms, t)
                stop = at + parts_of(chunk_bytes)
                # 24 bits for the weight: level * weight / 2^16, rounded up, loses nothing.
                unit = np.float64(query_weights[j]) * np.float64(term_max[t]) * scale
                weight = U(np.ceil(unit * (np.float64(65536) / np.float64(255))))
                for p in range(base + U(list_pointers[at]), base + U(list_pointers[stop])):
                    slot = U(list_slots[p])
                    value = (U(list_levels[p]) * weight + U(65535)) >> U(16)
                    here[slot] = np.uint16(U(here[slot]) + value)
        tile = U(0)
        while tile < chunk_bytes:
            n = min(U(_TILE_BYTES), chunk_bytes - tile)
            add_dense(
                here[tile : tile + n],
                here[chunk_bytes + tile : chunk_bytes + tile + n],
                dense,
                row_bytes,
                chunk_start + tile,
                n,
                rows,
                weights,
                n_rows,
            )
            tile += n
        of_chunk = groups[chunk_start >> U(2) : (chunk_start + chunk_bytes) >> U(2)]
        group_maxima(here, of_chunk)
        group_maxima(of_chunk, tops[chunk_start >> U(5) : (chunk_start + chunk_bytes) >> U(5)])
        chunk += U(1)
        chunk_start += chunk_bytes


@jit
def fill_table(unit, tables, at):
    """Write what each 4-bit level of a term adds to an 8-bit estimate; `unit` is one level's."""
    tables[at] = np.uint8(0)
    for level in range(U(1), U(16)):
        # Levels are rounded up: half a level less is right on average.
        value = (np.float64(level) - np.float64(0.5)) * unit + np.float64(0.5)
        tables[at + level] = np.uint8(min(value, np.float64(255)))


@jit
def estimate_blocks(
    query_terms,
    query_weights,
    threshold,
    scale,
    n_terms,
    term_max,
    dense_row,
    dense,
    list_bases,
    list_pointers,
    list_slots,
    list_levels,
    rows,
    tables,
    accumulator,
    groups,
    tops,
):
    """Write an estimate in 8 bits of the best score in each block; sums stay at 255.

    Parameters
    ----------
    query_terms, query_weights, threshold, n_terms, term_max, list_bases, list_pointers, list_slots
    list_levels, rows
        See `bound_blocks`.
    scale : float
        Units of a score of 1.
    dense : uint8, shape (n_dense * row_bytes,)
    tables : uint8, shape (16 * MAX_TERMS,)
        Scratch.
    accumulator : uint8, shape (2 * row_bytes,)
    groups, tops : uint8, shape (row_bytes // 4,), (row_bytes // 32,)
    """
    row_bytes = U(len(accumulator)) >> U(1)
    n_rows = U(0)
    n_query = U(len(query_terms))
    for j in range(n_query):
        t = U(query_terms[j])
        if query_weights[j] >= threshold and dense_row[t] >= 0 and n_rows < U(MAX_TERMS):
            unit = np.float64(query_weights[j]) * np.float64(term_max[t]) * scale / np.float64(15)
            rows[n_rows] = np.int64(U(dense_row[t]) * row_bytes)
            fill_table(unit, tables, n_rows * U(16))
            n_rows += U(1)
    while n_rows % U(4) != U(0) and n_rows < U(MAX_TERMS):
        # Rows are added four at a time: the missing ones add nothing.
        rows[n_rows] = rows[U(0)]
        for level in range(U(16)):
            tables[n_rows * U(16) + level] = np.uint8(0)
        n_rows += U(1)
    chunk = U(0)
    chunk_start = U(0)
    while chunk_start < row_bytes:
        chunk_bytes = min(U(CHUNK_BYTES), row_bytes - chunk_start)
        here = accumulator[U(2) * chunk_start : U(2) * (chunk_start + chunk_bytes)]
        low = here[U(0) : chunk_bytes]
        high = here[chunk_bytes : U(2) * chunk_bytes]
        base = U(list_bases[chunk])
        for x in range(U(2) * chunk_bytes):
            here[x] = np.uint8(0)
        for j in range(n_query):
            t = U(query_terms[j])
            if query_weights[j] >= threshold and dense_row[t] < 0:
                at = list_at(chunk, chunk_bytes, n_terms, t)
                stop = at + parts_of(chunk_bytes)
                unit = np.float64(query_weights[j]) * np.float64(term_max[t]) * scale
                weight = U(unit * (np.float64(65536) / np.float64(255)))
                for p in range(base + U(list_pointers[at]), base + U(list_pointers[stop])):
                    slot = U(list_slots[p])
                    value = (U(list_levels[p]) * weight + U(32768)) >> U(16)
                    here[slot] = np.uint8(min(U(here[slot]) + value, U(255)))
        tile = U(0)
        while tile < chunk_bytes:
            stop = min(tile + U(_TILE_BYTES), chunk_bytes)
            start = chunk_start + tile
            j = U(0)
            while j < n_rows:
                at0 = U(rows[j]) + start
                at1 = U(rows[j + U(1)]) + start
                at2 = U(rows[j + U(2)]) + start
                at3 = U(rows[j + U(3)]) + start
                for step in range((stop - tile) // U(STEP_BYTES)):
                    x = step * U(STEP_BYTES)
                    add_levels(
                        low,
                        high,
                        tile + x,
                        dense,
                        at0 + x,
                        at1 + x,
                        at2 + x,
                        at3 + x,
                        tables,
                        j * U(16),
                    )
                j += U(4)
            tile = stop
        of_chunk = groups[chunk_start >> U(2) : (chunk_start + chunk_bytes) >> U(2)]
        group_maxima(here, of_chunk)
        group_maxima(of_chunk, tops[chunk_start >> U(5) : (chunk_start + chunk_bytes) >> U(5)])
        chunk += U(1)
        chunk_start += chunk_bytes


@jit
def count_from(values, least):
    """Return how many values are at least `least`."""
    count = np.uint32(0)
    for i in range(U(len(values))):
        count += np.uint32(values[i] >= least)
    return count


@jit
def threshold_for(accumulator, groups, tops, wanted, one):
    """Return a threshold, at least 1, that about `wanted` blocks reach if so many are not 0.

    Parameters
    ----------
    accumulator, groups, tops : uint8 or uint16
    wanted : int
        Where few are wanted, groups are counted in place of blocks: members of a group lie far
        apart, so that hardly two of them are among the best.
    one : uint8 or uint16
        1, in the type of the others.
    """
    values = accumulator
    if np.int64(wanted) * 4 <= len(tops):
        values = tops
    elif np.int64(wanted) * 4 <= len(groups):
        values = groups
    best = one
    for i in range(U(len(tops))):
        best = max(best, tops[i])
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
def collect_blocks(accumulator, groups, tops, least, below, shift, candidates, estimates):
    """List the blocks with an estimate in ``[least, below)``, shifted to 16 bits; return how many.

    Parameters
    ----------
    accumulator, groups, tops : uint8 or uint16
    least, below, shift : int
        `shift` is 8 where the accumulators are bytes.
    candidates, estimates : uint32, uint16
        Written.
    """
    n = U(0)
    chunk = U(0)
    chunk_start = U(0)
    row_bytes = U(len(accumulator)) >> U(1)
    if least > 65535:
        return 0
    bar = np.uint16(least)
    while chunk_start < row_bytes:
        chunk_bytes = min(U(CHUNK_BYTES), row_bytes - chunk_start)
        here = accumulator[U(2) * chunk_start : U(2) * (chunk_start + chunk_bytes)]
        n_groups = chunk_bytes >> U(2)
        of_chunk = groups[chunk_start >> U(2) : (chunk_start >> U(2)) + n_groups]
        n_tops = chunk_bytes >> U(5)
        top_start = chunk_start >> U(5)
        for top in range(n_tops):
            if tops[top_start + top] < bar:
                continue
            group = top
            for _ in range(GROUP):
                if of_chunk[group] >= bar:
                    slot = group
                    for _ in range(GROUP):
                        value = np.int64(here[slot])
                        if value >= np.int64(least) and value < np.int64(below):
                            candidates[n] = np.uint32(block_of(slot, chunk_bytes, chunk))
                            estimates[n] = np.uint16(value << np.int64(shift))
                            n += U(1)
                        slot += n_groups
                group += n_tops
        chunk += U(1)
        chunk_start += chunk_bytes
    return np.int64(n)


@jit
def expand_super_blocks(
    query_terms,
    query_weights,
    threshold,
    scale,
    n_terms,
    term_max,
    dense_row,
    dense,
    list_bases,
    list_pointers,
    list_slots,
    list_levels,
    row_bytes,
    tables,
    selected,
    n_selected,
    parts,
    firsts,
    sums,
    groups,
    tops,
):
    """Estimate in 8 bits the blocks of some super-blocks; return the number of sums.

    Parameters
    ----------
    query_terms, query_weights, threshold, scale, n_terms, term_max, dense_row, dense
    list_bases, list_pointers, list_slots, list_levels, tables
        See `estimate_blocks`; of the blocks.
    row_bytes : int
    selected : uint32, shape (>= n_selected + 64,)
        Super-blocks, ascending.
    n_selected : int
    parts, firsts : uint32, shape (>= n_selected + 1,)
        Scratch.
    sums : uint8, shape (>= 16 * (n_selected + 64),)
        Sixteen a super-block, its blocks in their order.
    groups, tops : uint8
        Maxima of groups of the sums, as in `bound_blocks`.
    """
    n = U(n_selected)
    # Whole top groups.
    n_padded = ((n + U(63)) // U(64)) * U(64)
    for x in range(n_padded * U(16)):
        sums[x] = np.uint8(0)
    n_parts = U(0)
    for i in range(n):
        part = U(selected[i]) // U(PART_BLOCKS // SUPER_BLOCKS)
        if n_parts == U(0) or U(parts[n_parts - U(1)]) != part:
            parts[n_parts] = np.uint32(part)
            firsts[n_parts] = np.uint32(i)
            n_parts += U(1)
    firsts[n_parts] = np.uint32(n)
    for j in range(U(len(query_terms))):
        t = U(query_terms[j])
        if query_weights[j] < threshold:
            continue
        impact = np.float64(query_weights[j]) * np.float64(term_max[t]) * scale
        if dense_row[t] >= 0:
            fill_table(impact / np.float64(15), tables, U(0))
            start = U(dense_row[t]) * U(row_bytes)
            for i in range(min(U(16), n)):
                prefetch(dense, start + U(selected[i]) * U(8))
            for i in range(n):
                if i + U(16) < n:
                    prefetch(dense, start + U(selected[i + U(16)]) * U(8))
                add_super_block(sums, i * U(16), dense, start + U(selected[i]) * U(8), tables, U(0))
        else:
            weight = U(impact * (np.float64(65536) / np.float64(255)))
            for x in range(U(0), n_parts + U(_AHEAD)):
                # Three steps at a time: the pointers of a part, its entries, the sums.
                if x < n_parts:
                    at = part_at(parts[x], row_bytes, n_terms, t)
                    prefetch(list_pointers, at)
                if x >= U(_AHEAD // 2) and x < n_parts + U(_AHEAD // 2):
                    part = U(parts[x - U(_AHEAD // 2)])
                    at = part_at(part, row_bytes, n_terms, t)
                    p = U(list_bases[part // U(CHUNK_PARTS)]) + U(list_pointers[at])
                    prefetch(list_slots, p)
                    prefetch(list_levels, p)
                if x < U(_AHEAD):
                    continue
                part = U(parts[x - U(_AHEAD)])
                chunk = part // U(CHUNK_PARTS)
                chunk_bytes = min(U(CHUNK_BYTES), U(row_bytes) - chunk * U(CHUNK_BYTES))
                first_super = chunk * U(CHUNK_BLOCKS // SUPER_BLOCKS)
                base = U(list_bases[chunk])
                at = part_at(part, row_bytes, n_terms, t)
                i = U(firsts[x - U(_AHEAD)])
                last = U(firsts[x - U(_AHEAD) + U(1)])
                wanted = U(selected[i]) - first_super
                # Entries come by block, so those of a super-block stand together.
                for p in range(base + U(list_pointers[at]), base + U(list_pointers[at + U(1)])):
                    byte = U(list_slots[p])
                    high = U(0)
                    if byte >= chunk_bytes:
                        byte -= chunk_bytes
                        high = U(8)
                    here = byte >> U(3)
                    if here < wanted:
                        continue
                    while here > wanted and i + U(1) < last:
                        i += U(1)
                        wanted = U(selected[i]) - first_super
                    if here > wanted:
                        break
                    if here == wanted:
                        to = i * U(16) + high + (byte & U(7))
                        value = (U(list_levels[p]) * weight + U(32768)) >> U(16)
                        sums[to] = np.uint8(min(U(sums[to]) + value, U(255)))
    group_maxima(sums[U(0) : n_padded * U(16)], groups[U(0) : n_padded * U(2)])
    group_maxima(groups[U(0) : n_padded * U(2)], tops[U(0) : n_padded >> U(2)])
    return n_padded * U(16)


@jit
def collect_expanded(sums, groups, tops, selected, least, below, candidates, estimates):
    """List the expanded blocks with an estimate in ``[least, below)``; return how many.

    Like `collect_blocks`, over the sums of `expand_super_blocks`.
    """
    n = U(0)
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
                    value = np.int64(sums[slot])
                    if value >= least and value < below:
                        block = U(selected[slot >> U(4)]) * U(SUPER_BLOCKS) + (slot & U(15))
                        candidates[n] = np.uint32(block)
                        estimates[n] = np.uint16(value << np.int64(8))
                        n += U(1)
                    slot += n_groups
            group += n_tops
    return np.int64(n)


@jit
def sort_ids(ids, n, shift, bits):
    """Sort ``ids[:n]``, all different, through a bitmap.

    Parameters
    ----------
    ids : uint32
    bits : uint64, shape (ceil(largest id / 64),)
        Scratch, zeros before and after.
    """
    for i in range(U(n)):
        wide = U(ids[i]) >> U(shift)
        bits[wide >> U(6)] |= U(1) << (wide & U(63))
    at = U(0)
    for word in range(U(len(bits))):
        left = bits[word]
        bit = U(0)
        while left != U(0):
            if left & U(1):
                ids[at] = np.uint32(word * U(64) + bit)
                at += U(1)
            left >>= U(1)
            bit += U(1)
        bits[word] = U(0)
    return np.int64(at)


@jit
def order_blocks(estimates, n, counts, order):
    """Write the positions of ``estimates[:n]``, the larger first (in 256 buckets)."""
    for i in range(U(257)):
        counts[i] = 0
    for i in range(U(n)):
        counts[U(256) - (U(estimates[i]) >> U(8))] += 1
    total = np.int64(0)
    for i in range(U(257)):
        here = counts[i]
        counts[i] = total
        total += here
    for i in range(U(n)):
        bucket = U(256) - (U(estimates[i]) >> U(8))
        order[U(counts[bucket])] = np.uint32(i)
        counts[bucket] += 1


@jit
def score_coarse(pointers, terms, coarse, query, position):
    """Return a document's inner product with the query, both in 8 bits."""
    total = np.int32(0)
    for p in range(U(pointers[U(position)]), U(pointers[U(position) + U(1)])):
        total += np.int32(query[U(terms[p])]) * np.int32(coarse[p])
    return total


@jit
def score_fine(pointers, terms, fine, query, position):
    """Return a document's score in float32, summed as even postings plus odd ones.

    The two sums run side by side; products are rounded (no fused multiply-add), so the bits of the
    result are the same on every machine.
    """
    p = U(pointers[U(position)])
    stop = U(pointers[U(position) + U(1)])
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
def prefetch_coarse(pointers, terms, coarse, first, last):
    """Ask for the terms and coarse weights of the documents ``first:last``."""
    start = U(pointers[U(first)])
    stop = U(pointers[U(last)])
    p = start
    while p < stop:
        prefetch(terms, p)
        p += U(32)
    p = start
    while p < stop:
        prefetch(coarse, p)
        p += U(64)


@jit
def prefetch_fine(pointers, terms, fine, first, last):
    """Ask for the terms and fine weights of the documents ``first:last``."""
    p = U(pointers[U(first)])
    stop = U(pointers[U(last)])
    while p < stop:
        prefetch(terms, p)
        prefetch(fine, p)
        p += U(32)


@jit
def count_heap_insert(heap, size, k, value):
    """Insert `value` into the min-heap of the best `k` coarse scores; return the new size."""
    if size < k:
        at = U(size)
        while at > U(0):
            parent = (at - U(1)) >> U(1)
            if heap[parent] <= value:
                break
            heap[at] = heap[parent]
            at = parent
        heap[at] = value
        return size + 1
    if value <= heap[U(0)]:
        return size
    at = U(0)
    n = U(k)
    while True:
        child = U(2) * at + U(1)
        if child >= n:
            break
        if child + U(1) < n and heap[child + U(1)] < heap[child]:
            child += U(1)
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value
    return size


@jit
def is_allowed(allowed, row):
    """Return whether the bit of a row is set."""
    return (allowed[U(row) >> U(6)] >> (U(row) & U(63))) & U(1) != U(0)


@jit
def slot_of(block, row_bytes):
    """Return where a block's accumulator stands, counted over all chunks."""
    chunk_start = (U(block) // U(CHUNK_BLOCKS)) * U(CHUNK_BYTES)
    chunk_bytes = min(U(CHUNK_BYTES), U(row_bytes) - chunk_start)
    local = U(block) % U(CHUNK_BLOCKS)
    byte = (local >> U(4)) * U(8) + (local & U(7))
    return U(2) * chunk_start + byte + ((local >> U(3)) & U(1)) * chunk_bytes


@jit
def push_fine(score, row, inverse_fine_scale, cell, cell_bits, heap, size, k):
    """Insert a document into the result heap if it belongs there; return the new size."""
    cell[0] = score * inverse_fine_scale
    if cell[0] <= 0:
        return size
    key = (U(cell_bits[0]) << U(32)) | (_ROW_MASK - U(row))
    if size < k or key > heap[0]:
        return heap_insert(heap, size, k, key)
    return size


@jit
def kth_units(heap, cell, cell_bits, scale, inverse_fine_scale):
    """Return the k-th score in units of estimates, rounded down with a margin for float32 sums."""
    cell_bits[0] = np.int32(heap[0] >> U(32))
    units = np.float64(cell[0]) / np.float64(inverse_fine_scale) * scale
    return np.int64(np.floor(units * (1 - 1e-4)))


@jit
def left_out(query_terms, query_weights, term_max):
    """Return the most that the terms beyond `MAX_TERMS` can add to a score."""
    total = np.float64(0)
    for j in range(U(MAX_TERMS), U(len(query_terms))):
        total += np.float64(query_weights[j]) * np.float64(term_max[U(query_terms[j])])
    return total


@jit
def list_blocks(
    accumulator, groups, tops, chosen, least, below, shift, candidates, estimates, counts, order
):
    """List the blocks (of the chosen ones) with an estimate in ``[least, below)``, best first.

    Returns how many there are: ``candidates[order[i]]`` is the i-th, up to 256ths of the range.
    """
    n = np.int64(0)
    if len(chosen) > 0:
        row_bytes = len(accumulator) >> 1
        for i in range(U(len(chosen))):
            value = np.int64(accumulator[slot_of(chosen[i], row_bytes)])
            if value >= least and value < below:
                candidates[n] = chosen[i]
                estimates[n] = np.uint16(value << np.int64(shift))
                n += 1
    else:
        n = collect_blocks(accumulator, groups, tops, least, below, shift, candidates, estimates)
    order_blocks(estimates, n, counts, order)
    return n


@jit
def visit_coarse(
    candidates,
    estimates,
    order,
    n_candidates,
    max_visits,
    bar_factor,
    document_rows,
    pointers,
    terms,
    coarse,
    coarse_query,
    allowed,
    k,
    coarse_heap,
    state,
    visited,
    found_scores,
    found_positions,
):
    """Score the documents of blocks in 8 bits, best block first.

    Ends after `max_visits` blocks once k documents matched, or when a block's estimate times
    `bar_factor` (coarse score a unit, over the heap factor; 0: never) is below the k-th score.

    Parameters
    ----------
    state : int64, shape (4,)
        Size of `coarse_heap`, documents found, blocks visited, whether the bar ended it; updated.

    The others are those of `clustered_search`.
    """
    n_documents = U(len(document_rows))
    filtered = len(allowed) > 0
    heap_size = state[0]
    n_found = U(state[1])
    n_visited = U(state[2])
    n = U(n_candidates)
    for i in range(min(U(3), n)):
        first = U(candidates[order[i]]) * U(BLOCK_ROWS)
        prefetch_coarse(pointers, terms, coarse, first, min(n_documents, first + U(BLOCK_ROWS)))
    for i in range(n):
        at = order[i]
        if heap_size == k:
            if i >= U(max_visits):
                break
            if bar_factor > 0 and estimates[at] * bar_factor < np.float64(coarse_heap[0]):
                state[3] = 1
                break
        if i + U(6) < n:
            prefetch(pointers, U(candidates[order[i + U(6)]]) * U(BLOCK_ROWS))
        if i + U(3) < n:
            first = U(candidates[order[i + U(3)]]) * U(BLOCK_ROWS)
            prefetch_coarse(pointers, terms, coarse, first, min(n_documents, first + U(BLOCK_ROWS)))
        block = candidates[at]
        visited[n_visited] = block
        n_visited += U(1)
        first = U(block) * U(BLOCK_ROWS)
        for position in range(first, min(n_documents, first + U(BLOCK_ROWS))):
            if filtered and not is_allowed(allowed, document_rows[position]):
                continue
            score = score_coarse(pointers, terms, coarse, coarse_query, position)
            found_scores[n_found] = score
            found_positions[n_found] = np.int32(position)
            n_found += U(1)
            if score > 0:
                heap_size = count_heap_insert(coarse_heap, heap_size, k, score)
    state[0] = heap_size
    state[1] = np.int64(n_found)
    state[2] = np.int64(n_visited)


@jit
def rescore(
    found_scores,
    found_positions,
    n_found,
    least,
    document_rows,
    pointers,
    terms,
    fine,
    fine_query,
    inverse_fine_scale,
    cell,
    cell_bits,
    heap,
    k,
    state,
):
    """Score the found documents of at least `least` from half floats; return the heap's size.

    ``state[3]`` gets the number of documents scored.
    """
    n = U(0)
    for i in range(U(n_found)):
        if found_scores[i] >= least:
            position = found_positions[i]
            found_positions[n] = position
            n += U(1)
            prefetch_fine(pointers, terms, fine, position, U(position) + U(1))
    size = 0
    for i in range(n):
        position = U(found_positions[i])
        size = push_fine(
            score_fine(pointers, terms, fine, fine_query, position),
            document_rows[position],
            inverse_fine_scale,
            cell,
            cell_bits,
            heap,
            size,
            k,
        )
    state[3] = np.int64(n)
    return size


@jit
def visit_fine(
    candidates,
    estimates,
    order,
    n_candidates,
    slack,
    scale,
    document_rows,
    pointers,
    terms,
    fine,
    fine_query,
    allowed,
    inverse_fine_scale,
    cell,
    cell_bits,
    heap,
    size,
    k,
    stats,
):
    """Score the documents of the blocks whose bound reaches the k-th score; return the heap's size.

    Parameters are those of `clustered_search`; `slack` is added to every estimate.
    """
    n_documents = U(len(document_rows))
    # With a bar of 0 the slots that pad the rows are listed too; no document is in them.
    n_blocks = (n_documents + U(BLOCK_ROWS) - U(1)) // U(BLOCK_ROWS)
    filtered = len(allowed) > 0
    n = U(n_candidates)
    bar = np.int64(0)
    if size == k:
        bar = kth_units(heap, cell, cell_bits, scale, inverse_fine_scale) - slack
    for i in range(n):
        at = order[i]
        if np.int64(estimates[at]) < bar:
            # Buckets are coarse: a later block of the same bucket may still reach it.
            if (U(estimates[at]) >> U(8)) < (U(bar) >> U(8)):
                break
            continue
        if U(candidates[at]) >= n_blocks:
            continue
        if i + U(6) < n:
            prefetch(pointers, U(candidates[order[i + U(6)]]) * U(BLOCK_ROWS))
        if i + U(3) < n:
            ahead = order[i + U(3)]
            if np.int64(estimates[ahead]) >= bar and U(candidates[ahead]) < n_blocks:
                first = U(candidates[ahead]) * U(BLOCK_ROWS)
                prefetch_fine(pointers, terms, fine, first, min(n_documents, first + U(BLOCK_ROWS)))
        first = U(candidates[at]) * U(BLOCK_ROWS)
        stats[1] += 1
        grown = False
        for position in range(first, min(n_documents, first + U(BLOCK_ROWS))):
            row = document_rows[position]
            if filtered and not is_allowed(allowed, row):
                continue
            stats[2] += 1
            score = score_fine(pointers, terms, fine, fine_query, position)
            worst = heap[0]
            before = size
            size = push_fine(score, row, inverse_fine_scale, cell, cell_bits, heap, size, k)
            grown = grown or size != before or (size > 0 and heap[0] != worst)
        if grown and size == k:
            bar = kth_units(heap, cell, cell_bits, scale, inverse_fine_scale) - slack
    return size


@jit
def clustered_search(
    document_rows,
    pointers,
    terms,
    coarse,
    fine,
    term_max,
    dense_row,
    dense,
    list_bases,
    list_pointers,
    list_slots,
    list_levels,
    wide_row,
    wide_dense,
    wide_bases,
    wide_pointers,
    wide_slots,
    wide_levels,
    inverse_fine_scale,
    coarse_unit,
    query_terms,
    query_weights,
    k,
    mode,
    mass,
    heap_factor,
    max_blocks,
    max_wide_blocks,
    wide_shift,
    rescore_share,
    allowed,
    chosen,
    coarse_query,
    fine_query,
    rows,
    weights,
    tables,
    accumulator,
    groups,
    tops,
    accumulator8,
    groups8,
    tops8,
    wide_accumulator,
    wide_groups,
    wide_tops,
    selected,
    bits,
    candidates,
    estimates,
    counts,
    order,
    visited,
    coarse_heap,
    found_scores,
    found_positions,
    cell,
    cell_bits,
    heap,
    state,
    stats,
    out_rows,
    out_score_bits,
):
    """Write the best `k` rows of one query and return how many there are.

    Parameters
    ----------
    document_rows : int32, shape (n_documents,)
        Row of each position.
    pointers, terms, coarse, fine
        The forward index in clustered order; see `indexing.forward.ForwardIndex`.
    term_max, dense_row, dense, list_bases, list_pointers, list_slots, list_levels
        See `indexing.blocks.BlockMaxima`; `dense` in one dimension.
    wide_row, wide_dense, wide_pointers, wide_slots, wide_levels
        The same of super-blocks, or empty.
    inverse_fine_scale : float32
        A score of stored weights times this is the true one.
    coarse_unit : float
        Coarse weight of a stored weight of 1.
    query_terms, query_weights : int32, float32, shape (nnz,)
    k, mode : int
        Mode 0: approximate. 1: exact. 2: approximate, with a certificate in ``stats[4]``.
    mass, heap_factor, max_blocks, rescore_share
        See `indexing.config_clustered.ClusteredParams`.
    allowed : uint64, shape (ceil(n_documents / 64),) or (0,)
        Row bitmap; empty where every row may be a result.
    chosen : uint32, shape (n,)
        The only blocks with allowed rows where they are few, else empty.
    coarse_query, fine_query : uint8, float32, shape (n_terms,)
        Scratch, zeros before and after.
    rows, weights : int64, uint16, shape (MAX_TERMS,)
    tables : uint8, shape (16 * MAX_TERMS,)
    accumulator, groups, tops : uint16
        See `bound_blocks`.
    accumulator8, groups8, tops8 : uint8
        See `estimate_blocks`.
    wide_accumulator, wide_groups, wide_tops : uint8
        The same of super-blocks.
    selected, bits : uint32, uint64
        See `expand_super_blocks` and `sort_ids`.
    candidates, estimates, order, visited : uint32, uint16, uint32, uint32, shape (2 * row_bytes,)
    counts : int64, shape (257,)
    coarse_heap : int32, shape (>= k,)
    found_scores, found_positions : int32, shape (n_documents,)
    cell, cell_bits : float32, int32, shape (1,)
        The same memory.
    heap : uint64, shape (>= k,)
    state : int64, shape (4,)
        Scratch.
    stats : int64, shape (5,)
        Written: see `STATS`; then whether the result is proven exact (modes 1 and 2).
    out_rows, out_score_bits : int32, shape (>= k,)
        Written.
    """
    n_terms = len(term_max)
    stats[:] = 0
    heaviest = np.float32(0)
    for j in range(U(len(query_terms))):
        heaviest = max(heaviest, query_weights[j])
    if heaviest <= 0:
        return 0
    # A sum of products of bytes must stay within 31 bits however long the query.
    level = min(255, (2**31 - 1) // (255 * len(query_terms)))
    coarse_scale = np.float64(level) / np.float64(heaviest)
    for j in range(U(len(query_terms))):
        t = U(query_terms[j])
        coarse_query[t] = np.uint8(np.rint(np.float64(query_weights[j]) * coarse_scale))
        fine_query[t] = query_weights[j]

    size = 0
    stats[4] = 1
    if mode != 1:
        stats[4] = 0
        threshold = term_threshold(query_weights, np.float64(mass), MAX_TERMS)
        bound = largest_score(query_terms, query_weights, threshold, term_max)
        state[:] = 0
        if bound > 0:
            scale = np.float64(_ESTIMATE_UNITS) / bound
            plain8 = accumulator8[U(0) : U(len(accumulator))]
            plain_groups8 = groups8[U(0) : U(len(groups))]
            plain_tops8 = tops8[U(0) : U(len(tops))]
            n_sums = U(0)
            if len(wide_row) > 0 and len(chosen) == 0:
                estimate_blocks(
                    query_terms,
                    query_weights,
                    threshold,
                    scale,
                    n_terms,
                    term_max,
                    wide_row,
                    wide_dense,
                    wide_bases,
                    wide_pointers,
                    wide_slots,
                    wide_levels,
                    rows,
                    tables,
                    wide_accumulator,
                    wide_groups,
                    wide_tops,
                )
                n_selected = collect_blocks(
                    wide_accumulator,
                    wide_groups,
                    wide_tops,
                    threshold_for(
                        wide_accumulator, wide_groups, wide_tops, max_wide_blocks, np.uint8(1)
                    ),
                    _NO_BOUND,
                    8,
                    selected,
                    estimates,
                )
                n_selected = sort_ids(selected, n_selected, wide_shift, bits)
                n_sums = expand_super_blocks(
                    query_terms,
                    query_weights,
                    threshold,
                    scale,
                    n_terms,
                    term_max,
                    dense_row,
                    dense,
                    list_bases,
                    list_pointers,
                    list_slots,
                    list_levels,
                    len(accumulator) >> 1,
                    tables,
                    selected,
                    n_selected,
                    order,
                    visited,
                    accumulator8,
                    groups8,
                    tops8,
                )
            else:
                estimate_blocks(
                    query_terms,
                    query_weights,
                    threshold,
                    scale,
                    n_terms,
                    term_max,
                    dense_row,
                    dense,
                    list_bases,
                    list_pointers,
                    list_slots,
                    list_levels,
                    rows,
                    tables,
                    plain8,
                    plain_groups8,
                    plain_tops8,
                )
            expanded = plain8
            expanded_groups = plain_groups8
            expanded_tops = plain_tops8
            if n_sums > U(0):
                expanded = accumulator8[U(0) : n_sums]
                expanded_groups = groups8[U(0) : n_sums >> U(3)]
                expanded_tops = tops8[U(0) : n_sums >> U(6)]
            bar_factor = np.float64(0)
            if heap_factor > 0:
                per_unit = coarse_scale * np.float64(coarse_unit) / (scale * 256)
                bar_factor = per_unit / np.float64(heap_factor)
            least = np.int64(1)
            if len(chosen) == 0:
                least = threshold_for(
                    expanded, expanded_groups, expanded_tops, max_blocks, np.uint8(1)
                )
            below = np.int64(_NO_BOUND)
            visits = np.int64(max_blocks)
            if heap_factor > 0:
                visits = np.int64(_NO_BOUND) << 20
            while True:
                if n_sums > U(0):
                    n_candidates = collect_expanded(
                        expanded,
                        expanded_groups,
                        expanded_tops,
                        selected,
                        least,
                        below,
                        candidates,
                        estimates,
                    )
                    order_blocks(estimates, n_candidates, counts, order)
                else:
                    n_candidates = list_blocks(
                        plain8,
                        plain_groups8,
                        plain_tops8,
                        chosen,
                        least,
                        below,
                        8,
                        candidates,
                        estimates,
                        counts,
                        order,
                    )
                stats[0] += n_candidates
                visit_coarse(
                    candidates,
                    estimates,
                    order,
                    n_candidates,
                    visits,
                    bar_factor,
                    document_rows,
                    pointers,
                    terms,
                    coarse,
                    coarse_query,
                    allowed,
                    k,
                    coarse_heap,
                    state,
                    visited,
                    found_scores,
                    found_positions,
                )
                # The list ran out: go on below it while results are missing, or while a heap
                # factor is in force and blocks reach its bar.
                if least <= 1 or state[3] != 0:
                    break
                below = least
                least = np.int64(1)
                if state[0] == k:
                    if heap_factor == 0:
                        break
                    bar = np.int64(np.float64(coarse_heap[0]) / (bar_factor * 256))
                    least = max(least, bar)
                    if least >= below:
                        break
            stats[1] = state[2]
            stats[2] = state[1]
            lowest = np.int64(0)
            if state[0] == k and mode == 0:
                lowest = np.int64(np.float64(coarse_heap[0]) * np.float64(rescore_share))
            size = rescore(
                found_scores,
                found_positions,
                state[1],
                lowest,
                document_rows,
                pointers,
                terms,
                fine,
                fine_query,
                inverse_fine_scale,
                cell,
                cell_bits,
                heap,
                k,
                state,
            )
            stats[3] = state[3]
    bound = largest_score(query_terms, query_weights, np.float32(0), term_max)
    # Documents that hold only terms left out, or next to nothing of the others, may be results
    # where an approximate search finds too few: the exact pass finds all.
    exact = mode == 1 or size < k
    if bound > 0 and (exact or mode == 2):
        scale = bound_scale(len(query_terms), bound)
        slack = np.int64(np.ceil(left_out(query_terms, query_weights, term_max) * scale))
        bound_blocks(
            query_terms,
            query_weights,
            np.float32(0),
            scale,
            n_terms,
            term_max,
            dense_row,
            dense,
            list_bases,
            list_pointers,
            list_slots,
            list_levels,
            rows,
            weights,
            accumulator,
            groups,
            tops,
        )
        lowest = np.int64(0) if slack > 0 else np.int64(1)
        if exact:
            stats[4] = 1
            size = 0
            least = lowest
            if len(chosen) == 0:
                least = threshold_for(accumulator, groups, tops, max_blocks, np.uint16(1))
            below = np.int64(_NO_BOUND)
            while True:
                n_candidates = list_blocks(
                    accumulator,
                    groups,
                    tops,
                    chosen,
                    least,
                    below,
                    0,
                    candidates,
                    estimates,
                    counts,
                    order,
                )
                stats[0] += n_candidates
                size = visit_fine(
                    candidates,
                    estimates,
                    order,
                    n_candidates,
                    slack,
                    scale,
                    document_rows,
                    pointers,
                    terms,
                    fine,
                    fine_query,
                    allowed,
                    inverse_fine_scale,
                    cell,
                    cell_bits,
                    heap,
                    size,
                    k,
                    stats,
                )
                if least <= lowest:
                    break
                below = least
                least = lowest
                if size == k:
                    bar = kth_units(heap, cell, cell_bits, scale, inverse_fine_scale)
                    least = max(lowest, bar - slack)
                    if least >= below:
                        break
        elif slack == 0:
            for i in range(U(state[2])):
                accumulator[slot_of(visited[i], len(accumulator) >> 1)] = np.uint16(0)
            bar = kth_units(heap, cell, cell_bits, scale, inverse_fine_scale)
            bar = min(max(bar, np.int64(1)), np.int64(65535))
            stats[4] = np.int64(count_from(accumulator, np.uint16(bar)) == 0)
    for j in range(U(len(query_terms))):
        t = U(query_terms[j])
        coarse_query[t] = np.uint8(0)
        fine_query[t] = np.float32(0)
    heap_drain(heap, size, out_rows, out_score_bits)
    return size
