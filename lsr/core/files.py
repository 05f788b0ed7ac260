"""Text files as lines, whatever their compression: plain, ``.gz``, ``.zst``."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard

from lsr.core.errors import DataError

__all__ = ["open_text", "strip_compression"]

_SUFFIXES = (".gz", ".zst")


def strip_compression(path: Path) -> str:
    """Return the file's name without ``.gz`` or ``.zst``."""
    return path.name.removesuffix(path.suffix) if path.suffix in _SUFFIXES else path.name


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 file for reading, decompressed by its suffix.

    Raises
    ------
    DataError
        If there is no such file, or its compression or encoding is broken.
    """
    path = Path(path)
    try:
        if path.suffix == ".gz":
            stream: IO[str] = gzip.open(path, "rt", encoding="utf-8")
        elif path.suffix == ".zst":
            raw = zstandard.ZstdDecompressor().stream_reader(
                open(path, "rb"), read_across_frames=True, closefd=True
            )
            stream = io.TextIOWrapper(raw, encoding="utf-8")
        else:
            stream = open(path, encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"No file at {path}.", hint="Check the path.") from None
    with stream:
        try:
            yield stream
        except (zstandard.ZstdError, gzip.BadGzipFile, EOFError) as error:
            raise DataError(f"{path} is damaged: {error}.", hint="Fetch it again.") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 (byte {error.start} of the buffer: {error.reason}).",
                hint="Convert it, for example with iconv.",
            ) from error
