"""The timing protocol, for every figure this system quotes.

One thread, one query at a time, in the calling process, nothing else in the timed region.
`n_warmup` untimed passes over all queries first (compilation, page faults, caches); then
`n_runs` timed passes, and a query's time is the median of its runs, so that one interruption by
another process does not become the query's latency. Mean, p50, p95 and p99 are over queries.
Rivals are timed with `measure_interleaved`: query by query in turn, so that a change of clock
speed or load hits all of them alike.

Throughput is another question and has its own function: all threads, whole batch, wall time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lsr.core.errors import ArgumentError

__all__ = [
    "TIMED_ENCODINGS",
    "Latency",
    "Throughput",
    "measure_interleaved",
    "measure_latency",
    "measure_throughput",
    "one_thread",
    "spread",
]

T = TypeVar("T")

TIMED_ENCODINGS = 50
"""Queries that are encoded for timing: a model takes as long for each as thousands of searches."""


class Latency(BaseModel):
    """Time of one query on one thread, in microseconds, over `n_queries` queries.

    `load` is the machine's over the last minute when it was done: above 1, other work took part
    of the processor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    n_queries: int
    n_runs: int
    n_warmup: int
    load: float | None = None

    @classmethod
    def of(cls, times_us: NDArray[np.float64], *, n_runs: int, n_warmup: int) -> Latency:
        """Return the summary of one time a query."""
        p50, p95, p99 = np.percentile(times_us, [50, 95, 99]).tolist()
        return cls(
            mean_us=float(times_us.mean()),
            p50_us=p50,
            p95_us=p95,
            p99_us=p99,
            n_queries=len(times_us),
            n_runs=n_runs,
            n_warmup=n_warmup,
            load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        )


class Throughput(BaseModel):
    """Queries a second of one batch call; the best of `n_runs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries_per_s: float
    n_threads: int
    n_queries: int
    n_runs: int


def spread(items: Sequence[T], limit: int) -> list[T]:
    """Return at most `limit` of the items, evenly spaced."""
    n = len(items)
    return list(items) if n <= limit else [items[at * n // limit] for at in range(limit)]


def _check(n_queries: int, n_runs: int, n_warmup: int) -> None:
    if n_queries < 1 or n_runs < 1 or n_warmup < 0:
        raise ArgumentError(
            "Timing needs at least one query, one run and no negative warm-up, got "
            f"{n_queries}, {n_runs} and {n_warmup}."
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch on one thread inside the block, if it is loaded, and restore it after."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_interleaved(
    systems: Mapping[str, Callable[[int], object]],
    n_queries: int,
    *,
    n_runs: int = 5,
    n_warmup: int = 1,
) -> dict[str, Latency]:
    """Return the latency of each system, all timed query by query in turn.

    Parameters
    ----------
    systems : mapping
        Name to a function that answers query number `i`; its result is discarded.
    n_queries : int
        Queries are numbered from 0.
    n_runs, n_warmup : int
        Timed and untimed passes over all queries.

    Raises
    ------
    ArgumentError
        If there is no query or no run.
    """
    _check(n_queries, n_runs, n_warmup)
    times = {name: np.empty((n_runs, n_queries), dtype=np.float64) for name in systems}
    clock = time.perf_counter_ns
    names = list(systems)
    with one_thread():
        for _ in range(n_warmup):
            for answer in systems.values():
                for query in range(n_queries):
                    answer(query)
        for run in range(n_runs):
            for query in range(n_queries):
                # The order rotates: what runs second finds the query's data in the cache.
                first = (run + query) % len(names)
                for name in names[first:] + names[:first]:
                    answer = systems[name]
                    start = clock()
                    answer(query)
                    times[name][run, query] = (clock() - start) / 1000
    return {
        name: Latency.of(np.median(values, axis=0), n_runs=n_runs, n_warmup=n_warmup)
        for name, values in times.items()
    }


def measure_latency(
    answer: Callable[[int], object], n_queries: int, *, n_runs: int = 5, n_warmup: int = 1
) -> Latency:
    """Return the latency of one system; see `measure_interleaved`."""
    return measure_interleaved({"": answer}, n_queries, n_runs=n_runs, n_warmup=n_warmup)[""]


def measure_throughput(
    answer_all: Callable[[], object], n_queries: int, *, n_threads: int, n_runs: int = 3
) -> Throughput:
    """Return queries a second of a batch search over all threads, after one untimed call.

    Parameters
    ----------
    answer_all : callable
        Answers all queries in one call.
    n_queries, n_threads : int
        How many queries that is, and on how many threads it runs.
    n_runs : int
        Timed calls; the best counts, since other processes can only slow a call down.
    """
    _check(n_queries, n_runs, 0)
    answer_all()
    best = float("inf")
    for _ in range(n_runs):
        start = time.perf_counter_ns()
        answer_all()
        best = min(best, (time.perf_counter_ns() - start) / 1e9)
    return Throughput(
        queries_per_s=n_queries / best, n_threads=n_threads, n_queries=n_queries, n_runs=n_runs
    )
