"""Where the terms of a document's vector come from: the piece of its text that gave each its weight.

A learned encoder gives a term the weight of the position where its logit is largest. That position
is a token of the text, so even a term that the text does not show comes from a place in it. Kept
while encoding (``lsr encode --positions``), it lets a search show why an added term is there.

A row's origins are packed into a few bytes: the pieces once each, and for every term which one. An
*empty piece* stands for a term that comes from no piece of text (a special token, the prompt).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lsr.core.errors import DataError
from lsr.core.sparse import Int32Array, Int64Array, SparseMatrix, UInt8Array

__all__ = ["OriginTable", "Origins", "places_in"]

_HEADER = 4  # a byte of widths, three of the number of pieces
_MOST_PIECES = 1 << 24


@dataclass(frozen=True, slots=True)
class Origins:
    """The pieces of text behind the entries of a matrix, or of one row of it.

    Attributes
    ----------
    starts, ends : int32, shape (nnz,)
        ``text[start:end]``, in the order of the terms; offsets count code points. ``0, 0`` is the
        empty piece.
    """

    starts: Int32Array
    ends: Int32Array

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, at: Int64Array) -> Origins:
        """Return the origins at the places `at`."""
        return Origins(self.starts[at], self.ends[at])

    def packed(self, indptr: Int64Array) -> list[bytes]:
        """Return the packed origins of every row of the matrix with this `indptr`."""
        ends = indptr.tolist()
        return [_pack(self.starts[low:high], self.ends[low:high]) for low, high in pairwise(ends)]

    @classmethod
    def unpacked(cls, blob: bytes, n_terms: int) -> Origins:
        """Return the origins of a row of `n_terms` terms.

        Raises
        ------
        DataError
            If `blob` is not what `packed` makes for so many terms.
        """
        if len(blob) < _HEADER:
            raise DataError(f"Packed origins have at least {_HEADER} bytes, got {len(blob)}.")
        widths, n_pieces = blob[0], int.from_bytes(blob[1:_HEADER], "little")
        dtypes = [np.dtype(f"<u{(widths >> shift) & 7}") for shift in (0, 3)]
        of_terms = np.dtype(
            "<u1" if n_pieces <= 1 << 8 else "<u2" if n_pieces <= 1 << 16 else "<u4"
        )
        expected = (
            _HEADER + n_pieces * sum(d.itemsize for d in dtypes) + n_terms * of_terms.itemsize
        )
        if len(blob) != expected:
            raise DataError(
                f"Packed origins of {n_terms} terms have {len(blob)} bytes, not {expected}."
            )
        at = _HEADER
        parts = []
        for dtype, count in ((dtypes[0], n_pieces), (dtypes[1], n_pieces), (of_terms, n_terms)):
            parts.append(np.frombuffer(blob, dtype, count, at).astype(np.int32))
            at += count * dtype.itemsize
        starts, lengths, piece = parts
        return cls(starts[piece], (starts + lengths)[piece])


def _pack(starts: Int32Array, ends: Int32Array) -> bytes:
    pieces, of_terms = np.unique(
        (starts.astype(np.int64) << 32) | (ends - starts).astype(np.int64), return_inverse=True
    )
    if len(pieces) >= _MOST_PIECES:
        raise DataError(
            f"A text has {len(pieces):,} pieces; at most {_MOST_PIECES - 1:,} are kept."
        )
    columns = [pieces >> 32, pieces & 0xFFFFFFFF]
    dtypes = [_narrowest(column) for column in columns]
    of_terms_dtype = _narrowest(np.array([max(len(pieces) - 1, 0)]))
    return b"".join(
        (
            bytes([dtypes[0].itemsize | dtypes[1].itemsize << 3]),
            len(pieces).to_bytes(_HEADER - 1, "little"),
            *(
                column.astype(dtype).tobytes()
                for column, dtype in zip(columns, dtypes, strict=True)
            ),
            of_terms.astype(of_terms_dtype).tobytes(),
        )
    )


def _narrowest(values: Int64Array) -> np.dtype[np.unsignedinteger]:
    largest = int(values.max(initial=0))
    return np.dtype("<u1" if largest < 1 << 8 else "<u2" if largest < 1 << 16 else "<u4")


class OriginTable:
    """The packed origins of many rows, which may be memory-mapped.

    Parameters
    ----------
    data : uint8
        One row after another.
    offsets : int64, shape (n_rows + 1,)
        Where each row begins.
    """

    def __init__(self, data: UInt8Array, offsets: Int64Array) -> None:
        self.data = data
        self.offsets = offsets

    @classmethod
    def from_rows(cls, rows: Sequence[bytes]) -> OriginTable:
        """Return the table of packed rows."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return cls(np.frombuffer(b"".join(rows), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> bytes:
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        for row in range(len(self)):
            yield self[row]


def places_in(whole: SparseMatrix, part: SparseMatrix) -> Int64Array:
    """Return where in `whole` each entry of `part` stands.

    Parameters
    ----------
    whole, part : SparseMatrix
        Of the same rows; `part` has some of the terms of `whole`.
    """

    def keys(matrix: SparseMatrix) -> Int64Array:
        rows = np.repeat(np.arange(matrix.n_rows, dtype=np.int64), np.diff(matrix.indptr))
        return rows * matrix.size + matrix.terms

    return np.searchsorted(keys(whole), keys(part)).astype(np.int64)
