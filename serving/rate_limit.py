"""How often one caller may ask: a bucket of requests that fills at a steady rate.

The generic cell rate algorithm: a caller is one number, the time at which its bucket will be full
again. The numbers lie in a file that all processes of a service map into memory, so a limit holds
over all of them; the kernel lets the lock on it go if a process dies.

References
----------
ITU-T I.371 (2004), "Traffic control and congestion control in B-ISDN", annex A.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

__all__ = ["RateLimiter", "caller_of_address"]

_WAYS = 8
_SETS = 4096
_SLOT = np.dtype([("caller", "<u8"), ("full_at", "<f8")])


class RateLimiter:
    """Counts the requests of callers.

    Parameters
    ----------
    per_s : float
        Requests a second that a caller may make for long.
    burst : int
        Requests that it may make at once after a rest.
    path : Path, optional
        Shared with the limiters of other processes that are given the same path; made where it is
        not there. A file of its own otherwise.
    now : callable
        Seconds of a clock that all processes share.

    Notes
    -----
    Callers beyond some thirty thousand take the places of those that have rested longest, whose
    buckets are the fullest: forgetting them changes least.
    """

    def __init__(
        self,
        per_s: float,
        burst: int,
        *,
        path: Path | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1.0 / per_s
        self._window = burst / per_s
        self._now = now
        self._threads = Lock()
        if path is None:
            self._file, name = tempfile.mkstemp(prefix="lsr-limits-")
            os.unlink(name)
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._file, _SETS * _WAYS * _SLOT.itemsize)
        self._memory = mmap.mmap(self._file, 0)
        self._slots = np.frombuffer(self._memory, dtype=_SLOT).reshape(_SETS, _WAYS)

    def take(self, caller: str) -> float:
        """Take one request from a caller's bucket; return 0, or the seconds until there is one."""
        digest = hashlib.blake2b(caller.encode(), digest_size=16).digest()
        key = int.from_bytes(digest[:8], "little") | 1  # 0 marks a free slot
        ways = self._slots[int.from_bytes(digest[8:], "little") % _SETS]
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                now = self._now()
                found = np.flatnonzero(ways["caller"] == key)
                way = int(found[0]) if len(found) else int(np.argmin(ways["full_at"]))
                full_at = max(now, float(ways["full_at"][way])) if len(found) else now
                wait = full_at + self._interval - self._window - now
                if wait > 0:
                    return wait
                ways[way] = (key, full_at + self._interval)
                return 0.0
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let the shared memory go."""
        del self._slots
        self._memory.close()
        os.close(self._file)


def caller_of_address(host: str) -> str:
    """Return who asks from an address: of IPv6 the network, which one machine has all of."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address)
    return str(getattr(address, "ipv4_mapped", None) or address)
