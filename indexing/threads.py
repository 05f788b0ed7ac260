"""Threads that share work, and scratch memory that no two threads share.

Kernels release the GIL, so plain Python threads scale. A scratch object (accumulators, heaps) is
borrowed for one kernel call and given back; there are as many as calls ever ran at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Generic, TypeVar, cast

from lsr.core.errors import ArgumentError
from lsr.core.settings import get_settings

__all__ = ["ScratchPool", "gather", "limit_threads", "resolve_threads", "run_parallel"]

T = TypeVar("T")

_limit: ContextVar[int | None] = ContextVar("limit", default=None)


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Let no build or batch search that starts in the block use more than `n_threads` threads.

    Raises
    ------
    ArgumentError
        If it is below 1.
    """
    token = _limit.set(resolve_threads(n_threads))
    try:
        yield
    finally:
        _limit.reset(token)


def resolve_threads(n_threads: int | None) -> int:
    """Return `n_threads`, or the machine's setting (``LSR_THREADS``) for None; `limit_threads` binds.

    Raises
    ------
    ArgumentError
        If it is below 1.
    """
    if n_threads is None:
        n_threads = get_settings().threads
    if isinstance(n_threads, bool) or n_threads < 1:
        raise ArgumentError(f"n_threads must be 1 or more, got {n_threads!r}.")
    limit = _limit.get()
    return n_threads if limit is None else min(n_threads, limit)


def run_parallel(work: Callable[[int], None], n_items: int, n_threads: int) -> None:
    """Call ``work(0) … work(n_items - 1)``, each once, on up to `n_threads` threads.

    Items are handed out in order, one at a time, so that long ones do not pile up on a thread.
    The first exception is raised after all threads have stopped.
    """
    n_threads = min(n_threads, n_items)
    if n_threads <= 1:
        for item in range(n_items):
            work(item)
        return
    # next() on itertools.count is one C call, so it is atomic under the GIL.
    tickets = count()
    failed = False

    def run() -> None:
        nonlocal failed
        while not failed and (item := next(tickets)) < n_items:
            try:
                work(item)
            except BaseException:
                failed = True
                raise

    with ThreadPoolExecutor(n_threads, thread_name_prefix="lsr") as pool:
        futures = [pool.submit(run) for _ in range(n_threads)]
    for future in futures:
        future.result()


def gather(work: Callable[[int], T], n_items: int, n_threads: int | None = None) -> list[T]:
    """Return ``[work(0), … work(n_items - 1)]``, worked out on several threads."""
    found: list[T | None] = [None] * n_items

    def run(item: int) -> None:
        found[item] = work(item)

    run_parallel(run, n_items, resolve_threads(n_threads))
    # Every item was worked on: an error would have been raised.
    return cast(list[T], found)


class ScratchPool(Generic[T]):
    """Scratch objects that threads borrow.

    Parameters
    ----------
    make : callable
        Makes a new one when all are lent.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # append and pop of a deque are atomic: no lock on the way of a query.
        self._free: deque[T] = deque()

    def borrow(self) -> _Loan[T]:
        """Lend one to a ``with`` block.

        An object is not given back after an exception: it may be left half written.
        """
        return _Loan(self)

    def _take(self) -> T:
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def _give_back(self, scratch: T) -> None:
        self._free.append(scratch)


class _Loan(Generic[T]):
    """The block that borrows; a class, since a generator takes three times as long to enter."""

    __slots__ = ("_pool", "_scratch")

    def __init__(self, pool: ScratchPool[T]) -> None:
        self._pool = pool

    def __enter__(self) -> T:
        self._scratch = self._pool._take()
        return self._scratch

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._pool._give_back(self._scratch)
