"""The kernels that make the block maxima in plain numpy: same names, arguments and results."""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.kernels_geometry import CHUNK_BLOCKS, CHUNK_BYTES

__all__ = ["count_block_terms", "fill_block_maxima", "term_maxima"]

Array = Any


def term_maxima(terms: Array, fine: Array, out: Array) -> None:
    """Raise ``out[t]`` to the largest weight of every term `t` among some postings."""
    np.maximum.at(out, terms.astype(np.int64), fine.view(np.float16).astype(np.float32))


def _block_maxima(
    pointers: Array, terms: Array, fine: Array, block_rows: int, block: int, n_terms: int
) -> Array:
    last = min(len(pointers) - 1, (block + 1) * block_rows)
    here = slice(pointers[block * block_rows], pointers[last])
    maxima = np.zeros(n_terms, dtype=np.float32)
    term_maxima(terms[here], fine[here], maxima)
    return maxima


def count_block_terms(
    pointers: Array,
    terms: Array,
    fine: Array,
    block_rows: int,
    first: int,
    last: int,
    seen: Array,
    counts: Array,
) -> None:
    """Add 1 to ``counts[t]`` for every block of ``first:last`` that holds term `t`."""
    for block in range(first, last):
        counts += _block_maxima(pointers, terms, fine, block_rows, block, len(counts)) > 0


def fill_block_maxima(
    pointers: Array,
    terms: Array,
    fine: Array,
    block_rows: int,
    first: int,
    last: int,
    chunk_bytes: int,
    term_max: Array,
    dense_row: Array,
    dense: Array,
    cursor: Array,
    list_slots: Array,
    list_levels: Array,
    maxima: Array,
    touched: Array,
) -> None:
    """Write the maxima of the blocks ``first:last``, which lie in one chunk."""
    for block in range(first, last):
        found = _block_maxima(pointers, terms, fine, block_rows, block, len(term_max))
        local = block % CHUNK_BLOCKS
        high = local // 8 % 2
        byte = local // 16 * 8 + local % 8
        for term in np.flatnonzero(found):
            share = float(found[term]) / float(term_max[term])
            if dense_row[term] >= 0:
                level = int(np.ceil(15 * share - 1e-9))
                at = block // CHUNK_BLOCKS * CHUNK_BYTES + byte
                dense[dense_row[term], at] |= level << (4 * high)
            else:
                list_slots[cursor[term]] = byte + high * chunk_bytes
                list_levels[cursor[term]] = int(np.ceil(255 * share - 1e-9))
                cursor[term] += 1
