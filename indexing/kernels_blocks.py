"""Numba kernels that make the block maxima; rules as in `indexing.kernels`.

The geometry of blocks is in `indexing.kernels_geometry`, the twins in
`indexing.reference_blocks`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import half_to_float, jit
from indexing.kernels_geometry import CHUNK_BLOCKS, CHUNK_BYTES

__all__ = ["count_block_terms", "fill_block_maxima", "term_maxima"]

U = np.uint64


@jit
def term_maxima(terms, fine, out):
    """Raise ``out[t]`` to the largest weight of every term `t` among some postings.

    Parameters
    ----------
    terms : uint16 or uint32, shape (n,)
    fine : uint16, shape (n,)
        Bits of half floats, none negative.
    out : float32, shape (n_terms,)
    """
    for p in range(U(len(terms))):
        weight = half_to_float(fine[p])
        out[U(terms[p])] = max(out[U(terms[p])], weight)


@jit
def count_block_terms(pointers, terms, fine, block_rows, first, last, seen, counts):
    """Add 1 to ``counts[t]`` for every block of ``first:last`` that holds term `t`.

    Parameters
    ----------
    pointers : int64, shape (n_documents + 1,)
    terms, fine : uint16 or uint32, uint16, shape (nnz,)
        Postings whose half float is zero do not count.
    block_rows : int
        Documents a block.
    first, last : int
        Blocks.
    seen : int64, shape (n_terms,)
        Scratch.
    counts : int32, shape (n_terms,)
    """
    n_documents = len(pointers) - 1
    seen[:] = -1
    for block in range(first, last):
        start = U(pointers[U(block * block_rows)])
        stop = U(pointers[U(min(n_documents, (block + 1) * block_rows))])
        for p in range(start, stop):
            t = U(terms[p])
            if seen[t] != block and fine[p] != 0:
                seen[t] = block
                counts[t] += 1


@jit
def fill_block_maxima(
    pointers,
    terms,
    fine,
    block_rows,
    first,
    last,
    chunk_bytes,
    term_max,
    dense_row,
    dense,
    cursor,
    list_slots,
    list_levels,
    maxima,
    touched,
):
    """Write the maxima of the blocks ``first:last``, which lie in one chunk.

    A level never understates: ``level * term_max / 15`` (dense) and ``/ 255`` (lists) are at
    least the block's maximum.

    Parameters
    ----------
    pointers, terms, fine, block_rows
        As in `count_block_terms`.
    first, last : int
        Blocks; multiples of `SUPER_BLOCKS` but for the end of the collection.
    chunk_bytes : int
        Bytes of a dense row that the chunk owns.
    term_max : float32, shape (n_terms,)
    dense_row : int32, shape (n_terms,)
        Row of `dense`, or -1 for a term with a list.
    dense : uint8, shape (n_dense, row_bytes)
        Zeros where these blocks stand.
    cursor : int64, shape (n_terms,)
        Where the next entry of each list goes; advanced.
    list_slots, list_levels : uint16, uint8, shape (n_entries,)
    maxima : float32, shape (n_terms,)
        Scratch, zeros before and after.
    touched : int32, shape (n_terms,)
        Scratch.
    """
    n_documents = len(pointers) - 1
    for block in range(first, last):
        start = U(pointers[U(block * block_rows)])
        stop = U(pointers[U(min(n_documents, (block + 1) * block_rows))])
        n_touched = U(0)
        for p in range(start, stop):
            weight = half_to_float(fine[p])
            t = U(terms[p])
            if weight > maxima[t]:
                if maxima[t] == 0:
                    touched[n_touched] = np.int32(t)
                    n_touched += U(1)
                maxima[t] = weight
        local = U(block % CHUNK_BLOCKS)
        high = (local >> U(3)) & U(1)
        byte = (local >> U(4)) * U(8) + (local & U(7))
        chunk_start = U(block // CHUNK_BLOCKS) * U(CHUNK_BYTES)
        slot = byte + high * U(chunk_bytes)
        for i in range(n_touched):
            t = U(touched[i])
            # Half floats have 11 bits: a quotient in float64 is never rounded past a whole number.
            share = np.float64(maxima[t]) / np.float64(term_max[t])
            maxima[t] = 0
            row = dense_row[t]
            if row >= 0:
                level = np.ceil(np.float64(15) * share - np.float64(1e-9))
                dense[U(row), chunk_start + byte] |= np.uint8(U(level) << (high * U(4)))
            else:
                to = U(cursor[t])
                level = np.ceil(np.float64(255) * share - np.float64(1e-9))
                list_slots[to] = np.uint16(slot)
                list_levels[to] = np.uint8(level)
                cursor[t] += 1
