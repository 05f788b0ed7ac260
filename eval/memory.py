"""Memory of this process: anonymous and file-backed apart.

Memory-mapped index pages are file-backed: the system drops them when others need room, and two
processes share them. Adding them to what was allocated would make a mapped index look as
expensive as a copied one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["Memory", "peak_memory", "read_memory"]

_STATUS = Path("/proc/self/status")


class Memory(BaseModel):
    """Resident bytes of this process; None where the system does not tell (not Linux)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    anonymous_bytes: int | None
    file_backed_bytes: int | None


def read_memory() -> Memory:
    """Return what is resident now."""
    fields: dict[str, int] = {}
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, rest = line.partition(":")
            if name in ("RssAnon", "RssFile"):
                fields[name] = int(rest.split()[0]) * 1024
    except OSError:
        pass
    return Memory(anonymous_bytes=fields.get("RssAnon"), file_backed_bytes=fields.get("RssFile"))


class _Peak:
    """Filled by `peak_memory`; `value` is final once the block has ended."""

    def __init__(self) -> None:
        self.value = read_memory()

    def update(self) -> None:
        now = read_memory()
        self.value = Memory(
            anonymous_bytes=_larger(self.value.anonymous_bytes, now.anonymous_bytes),
            file_backed_bytes=_larger(self.value.file_backed_bytes, now.file_backed_bytes),
        )


def _larger(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


@contextmanager
def peak_memory(interval_s: float = 0.02) -> Iterator[_Peak]:
    """Sample memory every `interval_s` inside the block; the block gets an object with `value`.

    The kernel keeps a high-water mark of the sum only, hence the sampling; a spike shorter than
    the interval can be missed. Do not use it around a timed region.
    """
    peak = _Peak()
    done = threading.Event()

    def sample() -> None:
        while not done.wait(interval_s):
            peak.update()

    thread = threading.Thread(target=sample, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak.update()
