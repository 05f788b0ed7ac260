"""Numba kernels that make the block maxima; rules as in `indexing.kernels`.

A block is `BLOCK_ROWS` neighbouring documents. Sixteen blocks make a super-block (which a second
level bounds in the same way, as if it were a block), which owns eight bytes of every dense row: the low halves of the bytes are its blocks 0 to 7, the high halves 8 to
15. Blocks are handled in chunks of `CHUNK_BLOCKS`; within a chunk a block's *slot* is its byte,
plus the chunk's number of bytes where it is a high half. So a slot takes two bytes, and a dense
row is added to the accumulator of a chunk in two straight runs.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import half_to_float, jit

__all__ = [
    "BLOCK_ROWS",
    "CHUNK_BLOCKS",
    "CHUNK_BYTES",
    "CHUNK_PARTS",
    "PART_BLOCKS",
    "PART_BYTES",
    "SUPER_BLOCKS",
    "count_block_terms",
    "fill_block_maxima",
    "term_maxima",
]

U = np.uint64

BLOCK_ROWS = 4
"""Measured: 98 % recall takes 400 documents with blocks of four, over 2,000 with blocks of 8."""

CHUNK_BLOCKS = 65_536
CHUNK_BYTES = CHUNK_BLOCKS // 2
SUPER_BLOCKS = 16
"""Blocks a super-block."""

PART_BLOCKS = 1_024
"""Blocks a part: every list has a pointer to each part of a chunk."""

PART_BYTES = PART_BLOCKS // 2
CHUNK_PARTS = CHUNK_BLOCKS // PART_BLOCKS


@jit
def parts_of(chunk_bytes):
    """Return the number of parts of a chunk of so many bytes of a dense row."""
    return (U(chunk_bytes) + U(PART_BYTES - 1)) // U(PART_BYTES)


@jit
def list_at(chunk, chunk_bytes, n_terms, term):
    """Return where a term's pointers in a chunk start: one a part of the chunk, then the end."""
    return U(chunk) * (U(n_terms) * U(CHUNK_PARTS) + U(1)) + U(term) * parts_of(chunk_bytes)


@jit
def part_at(part, row_bytes, n_terms, term):
    """Return where a term's pointer to a part (counted over all chunks) stands."""
    chunk = U(part) // U(CHUNK_PARTS)
    chunk_bytes = min(U(CHUNK_BYTES), U(row_bytes) - chunk * U(CHUNK_BYTES))
    return list_at(chunk, chunk_bytes, n_terms, term) + U(part) % U(CHUNK_PARTS)


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
