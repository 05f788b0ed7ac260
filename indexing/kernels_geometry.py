"""Where blocks stand in the arrays of the clustered layout.

A block is `BLOCK_ROWS` neighbouring documents (or, on the level of wide blocks, more of them).
Sixteen blocks are a super-block, which owns eight bytes of every dense row: the low halves of the
bytes are its blocks 0 to 7, the high halves 8 to 15. Blocks are handled in chunks of
`CHUNK_BLOCKS`; within a chunk a block's *slot* is its byte, plus the chunk's number of bytes where
it is a high half. So a slot takes two bytes, and a dense row is added to the sums of a chunk in two
straight runs. Lists have a pointer to every part of `PART_BLOCKS`, so that a few super-blocks are
found in a long list without reading it all.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = [
    "BLOCK_ROWS",
    "CHUNK_BLOCKS",
    "CHUNK_BYTES",
    "CHUNK_PARTS",
    "GROUP",
    "PART_BLOCKS",
    "PART_BYTES",
    "PART_SUPERS",
    "SUPER_BLOCKS",
    "block_of",
    "chunk_size",
    "list_at",
    "part_at",
    "parts_of",
    "slot_of",
]

U = np.uint64

BLOCK_ROWS = 4
"""Measured: 98 % recall takes 400 documents with blocks of four, over 2,000 with blocks of 8."""

SUPER_BLOCKS = 16
"""Blocks a super-block."""

CHUNK_BLOCKS = 65_536
CHUNK_BYTES = CHUNK_BLOCKS // 2

PART_BLOCKS = 1_024
"""Blocks a part; 256 would make opening faster by a few percent, for four times the pointers."""

PART_BYTES = PART_BLOCKS // 2
PART_SUPERS = PART_BLOCKS // SUPER_BLOCKS
CHUNK_PARTS = CHUNK_BLOCKS // PART_BLOCKS

GROUP = 8
"""Blocks a group, and groups a top group. Members lie an eighth of a chunk apart: neighbours, which
are alike, are in different groups, so that about as many blocks as groups reach a threshold."""


@jit
def chunk_size(chunk, row_bytes):
    """Return the bytes of a dense row that a chunk owns."""
    return min(U(CHUNK_BYTES), U(row_bytes) - U(chunk) * U(CHUNK_BYTES))


@jit
def block_of(slot, chunk_bytes, chunk):
    """Return the block at a slot of a chunk."""
    high = U(0)
    byte = U(slot)
    if byte >= U(chunk_bytes):
        high = U(1)
        byte -= U(chunk_bytes)
    local = (byte >> U(3)) * U(SUPER_BLOCKS) + high * U(8) + (byte & U(7))
    return U(chunk) * U(CHUNK_BLOCKS) + local


@jit
def slot_of(block, row_bytes):
    """Return where a block's sum stands, counted over all chunks."""
    chunk = U(block) // U(CHUNK_BLOCKS)
    local = U(block) % U(CHUNK_BLOCKS)
    byte = (local >> U(4)) * U(8) + (local & U(7))
    high = (local >> U(3)) & U(1)
    return U(2) * chunk * U(CHUNK_BYTES) + byte + high * chunk_size(chunk, row_bytes)


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
    start = list_at(chunk, chunk_size(chunk, row_bytes), n_terms, term)
    return start + U(part) % U(CHUNK_PARTS)
