"""Block maxima: for every block of four documents, an upper bound of each term's weight.

Frequent terms have a dense row of 4-bit levels over all blocks; the other terms have lists, chunk
by chunk (`indexing.kernels_blocks` has the geometry). Both are relative to the term's largest
weight in the collection, so that a rare or light term is not coarser than a heavy one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing import kernels_blocks as kernels
from indexing.forward import Allocate, ForwardIndex
from indexing.jit import read_only
from indexing.kernels_geometry import (
    BLOCK_ROWS,
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    CHUNK_PARTS,
    PART_BLOCKS,
    SUPER_BLOCKS,
)
from indexing.threads import run_parallel
from lsr.core.artifact import open_array
from lsr.core.manifest import Manifest
from lsr.core.sparse import (
    Float32Array,
    Int32Array,
    Int64Array,
    UInt8Array,
    UInt16Array,
    UInt32Array,
)

__all__ = ["BlockMaxima", "build_blocks", "row_bytes"]

TASK_PARTS = 16
"""Parts that one thread fills at a time."""

_ALIGN_BYTES = 64


def row_bytes(n_documents: int, block_rows: int = BLOCK_ROWS) -> int:
    """Return the bytes of a dense row: 8 for 16 blocks, in whole cache lines."""
    n_super = -(-n_documents // (block_rows * SUPER_BLOCKS))
    return -(-n_super * 8 // _ALIGN_BYTES) * _ALIGN_BYTES


@dataclass(frozen=True, slots=True)
class BlockMaxima:
    """The maxima of all blocks.

    Attributes
    ----------
    term_max : float32, shape (n_terms,)
        Largest stored weight of each term (as half floats hold it), 0 for a term not there.
    dense_row : int32, shape (n_terms,)
        Row of `dense`, or -1.
    dense : uint8, shape (n_dense, row_bytes)
        Two 4-bit levels a byte.
    list_bases : int64, shape (n_chunks + 1,)
        Where the lists of each chunk start.
    list_pointers : uint32, shape (n_parts * n_terms + n_chunks,)
        Counted from the chunk's base: by chunk, then term, where its list starts in each part of
        the chunk; after the last of a chunk, its end. See `kernels_blocks.list_at`.
    list_slots, list_levels : uint16, uint8, shape (n_entries,)
        Slot within the chunk, blocks ascending; level of 255.
    """

    term_max: Float32Array
    dense_row: Int32Array
    dense: UInt8Array
    list_bases: Int64Array
    list_pointers: UInt32Array
    list_slots: UInt16Array
    list_levels: UInt8Array

    def arrays(self, level: str) -> dict[str, NDArray[Any]]:
        """Return the arrays by the name they are stored under."""
        return {f"{level}/{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def open(cls, path: Path, level: str, manifest: Manifest) -> BlockMaxima:
        """Return the memory-mapped maxima that `build_blocks` wrote."""
        return cls(*(open_array(path, f"{level}/{name}", manifest) for name in cls.__slots__))

    @classmethod
    def nothing(cls) -> BlockMaxima:
        """Return the maxima of no blocks and no terms: a level that is not there."""
        return cls(
            read_only(np.empty(0, np.float32)),
            read_only(np.empty(0, np.int32)),
            read_only(np.empty((0, 0), np.uint8)),
            read_only(np.empty(0, np.int64)),
            read_only(np.empty(0, np.uint32)),
            read_only(np.empty(0, np.uint16)),
            read_only(np.empty(0, np.uint8)),
        )


def build_blocks(
    forward: ForwardIndex,
    allocate: Allocate,
    *,
    level: str,
    block_rows: int,
    dense_share: float,
    n_threads: int,
    advance: Callable[[int], None],
) -> BlockMaxima:
    """Fill new arrays ``level/…`` with the maxima of a forward index in clustered order.

    Parameters
    ----------
    forward : ForwardIndex
    allocate : callable
    level : str
    block_rows : int
        Documents a block.
    dense_share : float
        Terms in more than this share of the blocks get a dense row.
    n_threads : int
    advance : callable
        Called with the number of blocks done; each is counted twice.
    """
    n_terms = forward.vocabulary_size
    n_blocks = -(-forward.n_documents // block_rows)
    n_chunks = -(-n_blocks // CHUNK_BLOCKS)
    n_parts = -(-n_blocks // PART_BLOCKS)
    width = row_bytes(forward.n_documents, block_rows)
    tasks = [range(at, min(n_parts, at + TASK_PARTS)) for at in range(0, n_parts, TASK_PARTS)]
    counts = np.zeros((n_parts, n_terms), dtype=np.uint16)
    task_max = np.zeros((max(1, len(tasks)), n_terms), dtype=np.float32)

    def count(item: int) -> None:
        seen = np.empty(n_terms, dtype=np.int64)
        for part in tasks[item]:
            first, last = part * PART_BLOCKS, min(n_blocks, (part + 1) * PART_BLOCKS)
            kernels.count_block_terms(
                forward.pointers,
                forward.terms,
                forward.fine,
                block_rows,
                first,
                last,
                seen,
                counts[part],
            )
            rows = min(forward.n_documents, last * block_rows)
            here = slice(int(forward.pointers[first * block_rows]), int(forward.pointers[rows]))
            kernels.term_maxima(forward.terms[here], forward.fine[here], task_max[item])
            advance(last - first)

    run_parallel(count, len(tasks), n_threads)
    term_max = allocate(f"{level}/term_max", np.float32, (n_terms,))
    term_max[:] = task_max.max(axis=0)
    is_dense = counts.sum(axis=0, dtype=np.int64) > dense_share * n_blocks
    dense_row = allocate(f"{level}/dense_row", np.int32, (n_terms,))
    dense_row[:] = np.where(is_dense, np.cumsum(is_dense) - 1, -1)
    dense = allocate(f"{level}/dense", np.uint8, (int(is_dense.sum()), width))
    dense[:] = 0
    counts[:, is_dense] = 0

    bases = allocate(f"{level}/list_bases", np.int64, (n_chunks + 1,))
    pointers = allocate(f"{level}/list_pointers", np.uint32, (n_parts * n_terms + n_chunks,))
    bases[0] = 0
    for chunk in range(n_chunks):
        here = counts[chunk * CHUNK_PARTS : (chunk + 1) * CHUNK_PARTS]
        start = chunk * (CHUNK_PARTS * n_terms + 1)
        of_chunk = pointers[start : start + here.size + 1]
        of_chunk[0] = 0
        np.cumsum(here.T, out=of_chunk[1:])
        bases[chunk + 1] = bases[chunk] + int(of_chunk[-1])
    slots = allocate(f"{level}/list_slots", np.uint16, (int(bases[-1]),))
    levels = allocate(f"{level}/list_levels", np.uint8, (int(bases[-1]),))
    # Plain ndarrays: numba compiles memmap's subclass apart.
    fixed_max, fixed_row = read_only(np.asarray(term_max)), read_only(np.asarray(dense_row))

    def fill(item: int) -> None:
        maxima = np.zeros(n_terms, dtype=np.float32)
        touched = np.empty(n_terms, dtype=np.int32)
        for part in tasks[item]:
            chunk, local = divmod(part, CHUNK_PARTS)
            start = chunk * (CHUNK_PARTS * n_terms + 1)
            parts_here = min(CHUNK_PARTS, n_parts - chunk * CHUNK_PARTS)
            of_chunk = pointers[start : start + parts_here * n_terms]
            first, last = part * PART_BLOCKS, min(n_blocks, (part + 1) * PART_BLOCKS)
            kernels.fill_block_maxima(
                forward.pointers,
                forward.terms,
                forward.fine,
                block_rows,
                first,
                last,
                min(CHUNK_BYTES, width - chunk * CHUNK_BYTES),
                fixed_max,
                fixed_row,
                np.asarray(dense),
                bases[chunk] + of_chunk[local::parts_here].astype(np.int64),
                np.asarray(slots),
                np.asarray(levels),
                maxima,
                touched,
            )
            advance(last - first)

    run_parallel(fill, len(tasks), n_threads)
    return BlockMaxima(
        *(
            read_only(np.asarray(array))
            for array in (term_max, dense_row, dense, bases, pointers, slots, levels)
        )
    )
