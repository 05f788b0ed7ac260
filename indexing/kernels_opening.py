"""Numba kernels of the first level: the blocks near the best wide blocks are estimated, no others.

A dense row is read in eight bytes a super-block, a list in the parts that hold selected
super-blocks. Both lie far apart in memory, so they are asked for well before they are used.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit, prefetch
from indexing.kernels_arrays import Sums
from indexing.kernels_estimates import group_maxima, list_units
from indexing.kernels_geometry import (
    CHUNK_BLOCKS,
    CHUNK_PARTS,
    PART_SUPERS,
    SUPER_BLOCKS,
    chunk_size,
    part_at,
)
from indexing.kernels_query import fill_table
from indexing.lookup import add_super_block

__all__ = ["find_parts", "first_sums", "open_super_blocks", "super_blocks_of"]

U = np.uint64

_AHEAD = 16


@jit
def super_blocks_of(ids, n, shift, bits):
    """Replace ids of wide blocks by those of their super-blocks, ascending, once each.

    Parameters
    ----------
    ids : uint32, shape (>= n,)
    n, shift : int
        A super-block is a wide block's id shifted by so much.
    bits : uint64, shape (ceil(n_super / 64),)
        Scratch, zeros before and after.

    Returns
    -------
    int
        How many there are.
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
def find_parts(ids, n, parts, firsts):
    """Write the parts of super-blocks, and where in ``ids[:n]`` each begins; return how many.

    Parameters
    ----------
    ids : uint32, shape (>= n,)
        Ascending.
    n : int
    parts, firsts : uint32, shape (>= n + 1,)
        Written; `firsts` has one more, which is `n`.
    """
    n_parts = U(0)
    for i in range(U(n)):
        part = U(ids[i]) // U(PART_SUPERS)
        if n_parts == U(0) or U(parts[n_parts - U(1)]) != part:
            parts[n_parts] = np.uint32(part)
            firsts[n_parts] = np.uint32(i)
            n_parts += U(1)
    firsts[n_parts] = np.uint32(n)
    return n_parts


@jit
def add_part(maxima, start, stop, weight, chunk, chunk_bytes, ids, first, last, sums):
    """Add a list's entries ``start:stop``, of one part, to the sums of its super-blocks.

    Entries come by block, so those of a super-block stand together, and the super-blocks of
    ``ids[first:last]`` are met in their order.
    """
    i = U(first)
    chunk_super = U(chunk) * U(CHUNK_BLOCKS // SUPER_BLOCKS)
    wanted = U(ids[i]) - chunk_super
    for p in range(U(start), U(stop)):
        byte = U(maxima.list_slots[p])
        high = U(0)
        if byte >= chunk_bytes:
            byte -= chunk_bytes
            high = U(8)
        here = byte >> U(3)
        if here < wanted:
            continue
        while here > wanted and i + U(1) < U(last):
            i += U(1)
            wanted = U(ids[i]) - chunk_super
        if here > wanted:
            break
        if here == wanted:
            to = i * U(SUPER_BLOCKS) + high + (byte & U(7))
            value = (U(maxima.list_levels[p]) * weight + U(32768)) >> U(16)
            sums[to] = min(U(sums[to]) + value, U(255))


@jit
def open_super_blocks(query, maxima, threshold, scale, row_bytes, tables, opened, n_opened, sums):
    """Estimate in 8 bits the blocks of some super-blocks, as `estimate_blocks` estimates all.

    Parameters
    ----------
    query : Query
    maxima : Maxima
        Of the blocks.
    threshold, scale : float
        Terms below this weight are left out; units of a score of 1.
    row_bytes : int
    tables : uint8, shape (>= 16,)
        Scratch.
    opened : Opened
        Its first `n_opened` ids.
    n_opened : int
    sums : Sums
        uint8; sixteen a super-block, its blocks in their order; written in whole top groups.

    Returns
    -------
    int
        The number of sums.
    """
    n = U(n_opened)
    n_sums = ((n + U(63)) // U(64)) * U(64) * U(SUPER_BLOCKS)
    blocks = sums.blocks
    for x in range(n_sums):
        blocks[x] = 0
    n_parts = find_parts(opened.ids, n, opened.parts, opened.firsts)
    n_terms = len(maxima.term_max)
    for j in range(U(len(query.terms))):
        t = U(query.terms[j])
        if query.weights[j] < threshold:
            continue
        if maxima.dense_row[t] >= 0:
            most = np.float64(query.weights[j]) * np.float64(maxima.term_max[t]) * scale
            fill_table(most / np.float64(15), tables, U(0))
            start = U(maxima.dense_row[t]) * U(row_bytes)
            for i in range(n + U(_AHEAD)):
                if i < n:
                    prefetch(maxima.dense, start + U(opened.ids[i]) * U(8))
                if i >= U(_AHEAD):
                    done = i - U(_AHEAD)
                    at = start + U(opened.ids[done]) * U(8)
                    add_super_block(blocks, done * U(SUPER_BLOCKS), maxima.dense, at, tables, U(0))
            continue
        weight = list_units(query, maxima, j, scale)
        for x in range(n_parts + U(_AHEAD)):
            # Three steps at a time: the pointers of a part, its first entries, their sums.
            if x < n_parts:
                at = part_at(opened.parts[x], row_bytes, n_terms, t)
                prefetch(maxima.list_pointers, at)
            if x >= U(_AHEAD // 2) and x < n_parts + U(_AHEAD // 2):
                part = U(opened.parts[x - U(_AHEAD // 2)])
                base = U(maxima.list_bases[part // U(CHUNK_PARTS)])
                first = base + U(maxima.list_pointers[part_at(part, row_bytes, n_terms, t)])
                prefetch(maxima.list_slots, first)
                prefetch(maxima.list_levels, first)
            if x >= U(_AHEAD):
                done = x - U(_AHEAD)
                part = U(opened.parts[done])
                chunk = part // U(CHUNK_PARTS)
                base = U(maxima.list_bases[chunk])
                at = part_at(part, row_bytes, n_terms, t)
                add_part(
                    maxima,
                    base + U(maxima.list_pointers[at]),
                    base + U(maxima.list_pointers[at + U(1)]),
                    weight,
                    chunk,
                    chunk_size(chunk, row_bytes),
                    opened.ids,
                    opened.firsts[done],
                    opened.firsts[done + U(1)],
                    blocks,
                )
    groups = sums.groups[U(0) : n_sums >> U(3)]
    group_maxima(blocks[U(0) : n_sums], groups)
    group_maxima(groups, sums.tops[U(0) : n_sums >> U(6)])
    return np.int64(n_sums)


@jit
def first_sums(sums, n_sums):
    """Return the first `n_sums` of the sums, a multiple of 64, and their groups."""
    n = U(n_sums)
    return Sums(sums.blocks[U(0) : n], sums.groups[U(0) : n >> U(3)], sums.tops[U(0) : n >> U(6)])
