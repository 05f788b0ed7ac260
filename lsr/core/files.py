"""Files of lines, whatever their compression: plain, ``.gz``, ``.zst``; read and written.

A damaged or cut-off file is an error, never a shorter file: zstandard's own stream reader ends
a truncated frame as if it were complete, so the frames are followed here.
"""

from __future__ import annotations

import gzip
import io
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from lsr.core.artifact import storage_errors
from lsr.core.errors import DataError

__all__ = ["create_bytes", "create_text", "open_bytes", "open_text", "strip_compression"]

_SUFFIXES = (".gz", ".zst")
_CHUNK = 1 << 17
# A piece decompresses at once: text grows tenfold, what is all alike a thousandfold.
_COMPRESSED_CHUNK = 1 << 14


def strip_compression(path: Path) -> str:
    """Return the file's name without ``.gz`` or ``.zst``."""
    return path.name.removesuffix(path.suffix) if path.suffix in _SUFFIXES else path.name


class _ZstdStream(io.RawIOBase):
    """A readable stream of all frames of a zstd file; EOFError if the last one is cut off."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._frame: Any = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            pending = self._frame.unused_data if self._frame and self._frame.eof else b""
            chunk = pending or self._source.read(_COMPRESSED_CHUNK)
            if not chunk:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the last compressed frame is cut off")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(chunk))
        taken = min(len(buffer), len(self._ready))
        buffer[:taken] = self._ready[:taken]
        self._ready = self._ready[taken:]
        return taken

    def close(self) -> None:
        self._source.close()
        super().close()


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed by its suffix; iterating gives the lines.

    Raises
    ------
    DataError
        If there is no such file, or its compression is broken or cut off.
    """
    path = Path(path)
    try:
        if path.suffix == ".gz":
            stream: Any = gzip.open(path, "rb")
        elif path.suffix == ".zst":
            stream = io.BufferedReader(_ZstdStream(open(path, "rb")), _CHUNK)
        else:
            stream = open(path, "rb")
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"No file at {path}.", hint="Check the path.") from None
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    with stream:
        try:
            yield stream
        except (zstandard.ZstdError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path} is damaged: {error}.", hint="Fetch it again.") from error


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 file for reading, decompressed by its suffix.

    Raises
    ------
    DataError
        If there is no such file, or its compression or encoding is broken.
    """
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8") as stream:
        try:
            yield stream
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 (byte {error.start} of the buffer: {error.reason}).",
                hint="Convert it, for example with iconv.",
            ) from error


@contextmanager
def create_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears at `path` only when complete; what stood there is replaced.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(path, "file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def create_text(path: Path) -> Iterator[IO[str]]:
    r"""Write a UTF-8 file as `create_bytes` does, compressed by its suffix.

    Lines end with ``\n`` on every system.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    path = Path(path)
    with create_bytes(path) as raw:
        if path.suffix == ".gz":
            # No time and no name in the header: the same content gives the same bytes.
            packed: Any = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
        elif path.suffix == ".zst":
            packed = zstandard.ZstdCompressor(level=9, write_checksum=True).stream_writer(
                raw, closefd=False
            )
        else:
            packed = raw
        stream = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        try:
            yield stream
        finally:
            stream.flush()
            stream.detach()
            if packed is not raw:
                packed.close()
