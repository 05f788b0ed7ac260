"""Where a build puts its arrays: into memory, or straight into the files of an artefact.

An array whose length is known is allocated at once; one that grows is appended to. On disk both
are ``.npy`` files that never stand in memory whole, so a build may be larger than memory.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsr.core.artifact import ArtifactWriter

__all__ = ["ArrayTarget", "DiskArrays", "MemoryArrays"]

_HEADER_BYTES = 128


class ArrayTarget(Protocol):
    """Takes the arrays of a build."""

    def allocate(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the new array `name`, to be filled."""

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Add `part` to the end of the one-dimensional array `name`; the first call makes it."""

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""


class MemoryArrays:
    """Arrays in memory."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def allocate(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the new array `name`, to be filled."""
        self._arrays[name] = np.empty(shape, dtype=dtype)
        return self._arrays[name]

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Add a copy of `part` to the end of the array `name`."""
        self._parts.setdefault(name, []).append(part.copy())

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        for name in list(self._parts):
            self._arrays[name] = np.concatenate(self._parts.pop(name))
        return self._arrays


class DiskArrays:
    """Arrays in the files of an open artefact.

    Parameters
    ----------
    writer : ArtifactWriter
    """

    def __init__(self, writer: ArtifactWriter) -> None:
        self._writer = writer
        self._maps: dict[str, Any] = {}
        self._streams: dict[str, tuple[IO[bytes], np.dtype[Any]]] = {}

    def allocate(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the new memory-mapped array `name`, to be filled."""
        self._maps[name] = self._writer.create_array(name, dtype, shape)
        # Plain ndarrays: numba compiles memmap's subclass apart.
        return np.asarray(self._maps[name])

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Add `part` to the end of the file of the array `name`."""
        if name not in self._streams:
            target = self._writer.path / f"{name}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = open(target, "wb")
            stream.write(bytes(_HEADER_BYTES))
            self._streams[name] = (stream, part.dtype)
        self._streams[name][0].write(np.ascontiguousarray(part).data)

    def finish(self) -> dict[str, NDArray[Any]]:
        """Write headers, flush, and return all arrays by name, memory-mapped."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, memory_map in self._maps.items():
            memory_map.flush()
            arrays[name] = np.asarray(memory_map)
        for name, (stream, dtype) in self._streams.items():
            n_items = (stream.tell() - _HEADER_BYTES) // dtype.itemsize
            stream.seek(0)
            stream.write(_header(dtype, n_items))
            stream.close()
            path = Path(stream.name)
            arrays[name] = np.load(path, mmap_mode="r").view(np.ndarray)
        self._streams.clear()
        return arrays

    def close(self) -> None:
        """Close files that `finish` did not, after an error."""
        for stream, _ in self._streams.values():
            stream.close()


def _header(dtype: np.dtype[Any], n_items: int) -> bytes:
    """Return a ``.npy`` header of exactly `_HEADER_BYTES` bytes."""
    buffer = BytesIO()
    fields = {"descr": dtype.str, "fortran_order": False, "shape": (n_items,)}
    np.lib.format.write_array_header_1_0(buffer, fields)
    header = buffer.getvalue()
    assert len(header) == _HEADER_BYTES, header
    return header
