"""Who may write: a lock on one file of the collection, given back by the kernel if its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsr.core.errors import CollectionLockedError

__all__ = ["LOCK_NAME", "locked"]

LOCK_NAME = "writer.lock"
_LOCK_PATIENCE_S = 1.0


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[int | None]:
    """Hold the lock of the collection at `path` while the block opens it.

    Gives the lock's handle; None to a reader while somebody writes.

    Raises
    ------
    CollectionLockedError
        If `exclusive` is asked for and another process writes, or is opening it.
    """
    handle = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_CREAT, 0o666)
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    # A reader that is just opening holds it for a moment.
    patience = time.monotonic() + (_LOCK_PATIENCE_S if exclusive else 0.0)
    try:
        while True:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < patience:
                    time.sleep(0.02)
                    continue
                if exclusive:
                    raise CollectionLockedError(
                        f"Another process writes to {path}.",
                        hint="One process writes at a time; others may read.",
                    ) from None
                yield None
                return
            yield handle
            return
    finally:
        os.close(handle)
