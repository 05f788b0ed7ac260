"""Numba kernels that bound (16 bits, rounded up) or estimate (8 bits) the scores of all blocks."""

from __future__ import annotations

import numpy as np

from indexing.jit import jit
from indexing.kernels_arrays import Query
from indexing.kernels_geometry import CHUNK_BYTES, chunk_size, list_at, parts_of
from indexing.kernels_query import MAX_TERMS, fill_table
from indexing.lookup import STEP_BYTES, add_levels

__all__ = [
    "add_dense",
    "add_lists",
    "bound_blocks",
    "estimate_blocks",
    "group_maxima",
    "list_units",
]

U = np.uint64

_TILE_BYTES = 8_192
"""Bytes of the dense rows that are added before the next ones: they stay in the first cache."""


@jit
def list_units(query, maxima, j, scale):
    """Return what a level of 65,536 adds for the j-th query term: 24 bits, rounded up."""
    most = np.float64(query.weights[j]) * np.float64(maxima.term_max[U(query.terms[j])]) * scale
    return U(np.ceil(most * (np.float64(65536) / np.float64(255))))


@jit
def add_lists(query, maxima, threshold, scale, chunk, chunk_bytes, carry, limit, sums):
    """Add the lists of the query's terms in a chunk to its sums.

    Parameters
    ----------
    query : Query
    maxima : Maxima
    threshold, scale : float
        Terms below this weight are left out; units of a score of 1.
    chunk, chunk_bytes : int
    carry : int
        Of 65,536: 65,535 rounds every addend up, 32,768 to the nearest.
    limit : int
        Sums stay at it.
    sums : uint8 or uint16, shape (2 * chunk_bytes,)
    """
    base = U(maxima.list_bases[chunk])
    n_terms = len(maxima.term_max)
    for j in range(U(len(query.terms))):
        t = U(query.terms[j])
        if query.weights[j] < threshold or maxima.dense_row[t] >= 0:
            continue
        at = list_at(chunk, chunk_bytes, n_terms, t)
        stop = base + U(maxima.list_pointers[at + parts_of(chunk_bytes)])
        weight = list_units(query, maxima, j, scale)
        for p in range(base + U(maxima.list_pointers[at]), stop):
            slot = U(maxima.list_slots[p])
            value = (U(maxima.list_levels[p]) * weight + U(carry)) >> U(16)
            sums[slot] = min(U(sums[slot]) + value, U(limit))


@jit
def add_dense(low, high, dense, row_bytes, start, n, rows, weights, n_rows):
    """Add rows of 4-bit levels, each times its weight, to sums; wraps at 16 bits.

    Parameters
    ----------
    low, high : uint16, shape (>= n,)
        Sums of the low and high halves of the bytes.
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
def group_maxima(sums, groups):
    """Write the maximum of every `GROUP` sums that lie ``len(groups)`` apart."""
    n = U(len(groups))
    a0 = sums[U(0) : n]
    a1 = sums[n : U(2) * n]
    a2 = sums[U(2) * n : U(3) * n]
    a3 = sums[U(3) * n : U(4) * n]
    a4 = sums[U(4) * n : U(5) * n]
    a5 = sums[U(5) * n : U(6) * n]
    a6 = sums[U(6) * n : U(7) * n]
    a7 = sums[U(7) * n : U(8) * n]
    for x in range(n):
        best = max(max(a0[x], a1[x]), max(a2[x], a3[x]))
        groups[x] = max(best, max(max(a4[x], a5[x]), max(a6[x], a7[x])))


@jit
def chunk_maxima(sums, chunk, chunk_bytes):
    """Write the maxima of the groups and top groups of a chunk."""
    start = U(chunk) * U(CHUNK_BYTES)
    stop = start + U(chunk_bytes)
    groups = sums.groups[start >> U(2) : stop >> U(2)]
    group_maxima(sums.blocks[U(2) * start : U(2) * stop], groups)
    group_maxima(groups, sums.tops[start >> U(5) : stop >> U(5)])


@jit
def bound_blocks(query, maxima, scale, scratch, sums):
    """Write an upper bound, in units, of the score that each block's documents can have.

    Parameters
    ----------
    query : Query
        The first `MAX_TERMS` terms take part.
    maxima : Maxima
    scale : float
        Units of a score of 1; see `bound_scale`.
    scratch : Terms
    sums : Sums
        uint16; written.
    """
    row_bytes = U(len(sums.blocks)) >> U(1)
    n_query = min(U(len(query.terms)), U(MAX_TERMS))
    used = Query(query.terms[:n_query], query.weights[:n_query])
    n_rows = U(0)
    for j in range(n_query):
        t = U(used.terms[j])
        if maxima.dense_row[t] >= 0:
            most = np.float64(used.weights[j]) * np.float64(maxima.term_max[t]) * scale
            scratch.rows[n_rows] = maxima.dense_row[t]
            scratch.weights[n_rows] = np.uint16(np.ceil(most / np.float64(15)))
            n_rows += U(1)
    for chunk in range((row_bytes + U(CHUNK_BYTES - 1)) // U(CHUNK_BYTES)):
        start = chunk * U(CHUNK_BYTES)
        chunk_bytes = chunk_size(chunk, row_bytes)
        here = sums.blocks[U(2) * start : U(2) * (start + chunk_bytes)]
        for x in range(U(2) * chunk_bytes):
            here[x] = 0
        add_lists(used, maxima, np.float32(0), scale, chunk, chunk_bytes, 65535, 65535, here)
        tile = U(0)
        while tile < chunk_bytes:
            n = min(U(_TILE_BYTES), chunk_bytes - tile)
            add_dense(
                here[tile : tile + n],
                here[chunk_bytes + tile : chunk_bytes + tile + n],
                maxima.dense,
                row_bytes,
                start + tile,
                n,
                scratch.rows,
                scratch.weights,
                n_rows,
            )
            tile += n
        chunk_maxima(sums, chunk, chunk_bytes)


@jit
def dense_tables(query, maxima, threshold, scale, row_bytes, scratch):
    """Write where the dense rows of the query's terms start, and their tables; return how many.

    Rows are added four at a time: those that fill up the last four add nothing.
    """
    n_rows = U(0)
    for j in range(U(len(query.terms))):
        t = U(query.terms[j])
        if query.weights[j] >= threshold and maxima.dense_row[t] >= 0 and n_rows < U(MAX_TERMS):
            most = np.float64(query.weights[j]) * np.float64(maxima.term_max[t]) * scale
            scratch.rows[n_rows] = np.int64(U(maxima.dense_row[t]) * U(row_bytes))
            fill_table(most / np.float64(15), scratch.tables, n_rows * U(16))
            n_rows += U(1)
    while n_rows % U(4) != U(0):
        scratch.rows[n_rows] = scratch.rows[U(0)]
        for level in range(U(16)):
            scratch.tables[n_rows * U(16) + level] = np.uint8(0)
        n_rows += U(1)
    return n_rows


@jit
def estimate_blocks(query, maxima, threshold, scale, scratch, sums):
    """Write an estimate in 8 bits of the best score in each block; sums stay at 255.

    Parameters
    ----------
    query : Query
    maxima : Maxima
    threshold, scale : float
        Terms below this weight are left out; units of a score of 1.
    scratch : Terms
    sums : Sums
        uint8; written.
    """
    row_bytes = U(len(sums.blocks)) >> U(1)
    n_rows = dense_tables(query, maxima, threshold, scale, row_bytes, scratch)
    rows = scratch.rows
    for chunk in range((row_bytes + U(CHUNK_BYTES - 1)) // U(CHUNK_BYTES)):
        start = chunk * U(CHUNK_BYTES)
        chunk_bytes = chunk_size(chunk, row_bytes)
        here = sums.blocks[U(2) * start : U(2) * (start + chunk_bytes)]
        for x in range(U(2) * chunk_bytes):
            here[x] = 0
        add_lists(query, maxima, threshold, scale, chunk, chunk_bytes, 32768, 255, here)
        low = here[U(0) : chunk_bytes]
        high = here[chunk_bytes : U(2) * chunk_bytes]
        tile = U(0)
        while tile < chunk_bytes:
            stop = min(tile + U(_TILE_BYTES), chunk_bytes)
            j = U(0)
            while j < n_rows:
                at0 = U(rows[j]) + start
                at1 = U(rows[j + U(1)]) + start
                at2 = U(rows[j + U(2)]) + start
                at3 = U(rows[j + U(3)]) + start
                for step in range((stop - tile) // U(STEP_BYTES)):
                    x = tile + step * U(STEP_BYTES)
                    add_levels(
                        low,
                        high,
                        x,
                        maxima.dense,
                        at0 + x,
                        at1 + x,
                        at2 + x,
                        at3 + x,
                        scratch.tables,
                        j * U(16),
                    )
                j += U(4)
            tile = stop
        chunk_maxima(sums, chunk, chunk_bytes)
