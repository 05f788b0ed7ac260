"""A table of strings that is memory-mapped: document ids by row, and rows by document id.

Three arrays: the UTF-8 bytes one after another, the offsets, and the rows in byte order for
binary search. Nothing is read at opening, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lsr.core.artifact import ArtifactWriter, open_array
from lsr.core.errors import DuplicateIdError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int64Array, UInt8Array

__all__ = ["StringTable"]


class StringTable:
    """Unique strings by row.

    Parameters
    ----------
    data : uint8, shape (n_bytes,)
        UTF-8, one string after another.
    offsets : int64, shape (n + 1,)
        String `r` is ``data[offsets[r]:offsets[r + 1]]``.
    order : int64, shape (n,)
        Rows by ascending bytes.
    """

    def __init__(self, data: UInt8Array, offsets: Int64Array, order: Int64Array) -> None:
        self._data = data
        self._offsets = offsets
        self._order = order

    @classmethod
    def from_strings(cls, strings: Sequence[str]) -> StringTable:
        """Return the table of `strings`.

        Raises
        ------
        DuplicateIdError
            If a string stands twice.
        """
        raw = [s.encode("utf-8") for s in strings]
        offsets = np.zeros(len(raw) + 1, dtype=np.int64)
        np.cumsum([len(r) for r in raw], out=offsets[1:])
        order = np.array(sorted(range(len(raw)), key=raw.__getitem__), dtype=np.int64)
        for left, right in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
            if raw[left] == raw[right]:
                raise DuplicateIdError(
                    f"The id {strings[left]!r} stands twice, at rows {left} and {right}.",
                    hint="Give every document its own id.",
                )
        return cls(np.frombuffer(b"".join(raw), dtype=np.uint8), offsets, order)

    def write(self, writer: ArtifactWriter, name: str) -> None:
        """Write the three arrays as ``<name>.data``, ``<name>.offsets`` and ``<name>.order``."""
        writer.array(f"{name}.data", self._data)
        writer.array(f"{name}.offsets", self._offsets)
        writer.array(f"{name}.order", self._order)

    @classmethod
    def open(cls, path: Path, name: str, manifest: Manifest) -> StringTable:
        """Return the memory-mapped table that `write` wrote."""
        return cls(
            open_array(path, f"{name}.data", manifest),
            open_array(path, f"{name}.offsets", manifest),
            open_array(path, f"{name}.order", manifest),
        )

    def _bytes(self, row: int) -> bytes:
        return self._data[int(self._offsets[row]) : int(self._offsets[row + 1])].tobytes()

    def __getitem__(self, row: int) -> str:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self._bytes(row).decode("utf-8")

    def row(self, string: str) -> int | None:
        """Return the row of `string`, or None."""
        wanted = string.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            row = int(self._order[middle])
            seen = self._bytes(row)
            if seen == wanted:
                return row
            if seen < wanted:
                low = middle + 1
            else:
                high = middle
        return None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __iter__(self) -> Iterator[str]:
        for row in range(len(self)):
            yield self[row]
