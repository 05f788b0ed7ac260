"""Row bitmaps: which documents a search may return.

Bit ``r % 64`` of word ``r // 64`` lets row `r` into the result. A kernel gets an empty array
where there is no filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing import kernels
from indexing.jit import read_only
from lsr.core.errors import ArgumentError
from lsr.core.sparse import Int32Array, Int64Array, UInt64Array

__all__ = [
    "NO_FILTER",
    "all_rows",
    "bitmap",
    "check_allowed",
    "clear_rows",
    "contains",
    "count_rows",
    "rows_of",
]

NO_FILTER: UInt64Array = read_only(np.empty(0, np.uint64))


def bitmap(rows: Sequence[int] | Int32Array | Int64Array, n_documents: int) -> UInt64Array:
    """Return the bitmap with the bits of `rows` set.

    Raises
    ------
    ArgumentError
        If a row is outside the index.
    """
    chosen = np.asarray(rows, dtype=np.int64)
    if chosen.size and (chosen.min() < 0 or chosen.max() >= n_documents):
        raise ArgumentError(f"A filter names a row outside the {n_documents} rows of the index.")
    bits = np.zeros(-(-n_documents // 64) * 64, dtype=np.uint8)
    bits[chosen] = 1
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)


def all_rows(n_documents: int) -> UInt64Array:
    """Return the bitmap with every row set; bits beyond the last row are 0."""
    words = np.full(-(-n_documents // 64), np.uint64(0xFFFFFFFFFFFFFFFF))
    if n_documents % 64:
        words[-1] = np.uint64((1 << n_documents % 64) - 1)
    return words


def clear_rows(words: UInt64Array, rows: Int64Array) -> UInt64Array:
    """Return a copy of a bitmap without `rows`."""
    made = words.copy()
    bits = np.uint64(1) << (rows & 63).astype(np.uint64)
    np.bitwise_and.at(made, rows >> 6, ~bits)
    return made


def contains(words: UInt64Array, rows: Int64Array) -> NDArray[np.bool_]:
    """Return for each of `rows` whether its bit is set."""
    bits = (words[rows >> 6] >> (rows & 63).astype(np.uint64)) & np.uint64(1)
    found: NDArray[np.bool_] = bits.astype(np.bool_)
    return found


def count_rows(words: UInt64Array) -> int:
    """Return how many rows are set."""
    return int(np.bitwise_count(words).sum(dtype=np.int64))


def rows_of(allowed: UInt64Array, n_documents: int) -> Int64Array:
    """Return the rows whose bit is set, ascending."""
    rows = np.empty(count_rows(allowed), dtype=np.int64)
    kernels.set_rows(read_only(allowed), rows)
    return rows[: np.searchsorted(rows, n_documents)]


def check_allowed(allowed: UInt64Array | None, n_documents: int) -> UInt64Array:
    """Return the bitmap as kernels take it.

    Raises
    ------
    ArgumentError
        If dtype or length do not fit the index.
    """
    if allowed is None:
        return NO_FILTER
    expected = -(-n_documents // 64)
    if allowed.dtype != np.uint64 or allowed.shape != (expected,):
        raise ArgumentError(
            f"allowed must be uint64 of {expected} words for {n_documents} documents, got "
            f"{allowed.dtype} of shape {allowed.shape}.",
            hint="Make it with indexing.filters.bitmap(rows, n_documents).",
        )
    return read_only(allowed) if expected else NO_FILTER
