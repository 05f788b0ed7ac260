"""Counters, gauges and histograms in Prometheus' text format.

Two hundred lines of client library would buy process-wide registries that two services in one
process (or two tests) share by accident; the format itself is a few lines.

References
----------
Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

__all__ = ["CONTENT_TYPE", "LATENCY_BUCKETS_S", "Counter", "Gauge", "Histogram", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
)  # fmt: skip
SIZE_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [f'{n}="{_escape(v)}"' for n, v in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}" if pairs else ""


class _Metric(ABC):
    kind = ""

    def __init__(self, name: str, description: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.description = description
        self.labels = tuple(labels)
        self._lock = threading.Lock()

    def render(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.description}"
        yield f"# TYPE {self.name} {self.kind}"
        yield from self._samples()

    @abstractmethod
    def _samples(self) -> Iterator[str]:
        """Yield the lines after the head."""


class Counter(_Metric):
    """A number that only grows, one for each combination of label values."""

    kind = "counter"

    def __init__(self, name: str, description: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, description, labels)
        self._values: dict[tuple[str, ...], float] = {}

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Add `amount` to the counter of these label values."""
        with self._lock:
            self._values[values] = self._values.get(values, 0.0) + amount

    def value(self, *values: str) -> float:
        """Return the counter of these label values."""
        return self._values.get(values, 0.0)

    def _samples(self) -> Iterator[str]:
        with self._lock:
            copied = sorted(self._values.items())
        for values, value in copied:
            yield f"{self.name}{_labels(self.labels, values)} {value:g}"


class Gauge(_Metric):
    """A number that is asked for when the metrics are read.

    Parameters
    ----------
    read : callable
        Returns ``(label values, number)`` pairs.
    """

    kind = "gauge"

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str],
        read: Callable[[], Sequence[tuple[tuple[str, ...], float]]],
    ) -> None:
        super().__init__(name, description, labels)
        self._read = read

    def _samples(self) -> Iterator[str]:
        for values, value in self._read():
            yield f"{self.name}{_labels(self.labels, values)} {value:.12g}"


class Histogram(_Metric):
    """How often a measured value fell below each bucket's bound, and their sum."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> None:
        super().__init__(name, description, labels)
        self.buckets = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, *values: str) -> None:
        """Count `value` for these label values."""
        at = bisect_left(self.buckets, value)
        with self._lock:
            counts = self._counts.get(values)
            if counts is None:
                counts = self._counts[values] = [0] * (len(self.buckets) + 1)
                self._sums[values] = 0.0
            counts[at] += 1
            self._sums[values] += value

    def count(self, *values: str) -> int:
        """Return the number of observations for these label values."""
        return sum(self._counts.get(values, ()))

    def _samples(self) -> Iterator[str]:
        with self._lock:
            copied = [(v, list(c), self._sums[v]) for v, c in sorted(self._counts.items())]
        for values, counts, total in copied:
            running = 0
            bounds = [*(f"{b:g}" for b in self.buckets), "+Inf"]
            for bound, count in zip(bounds, counts, strict=True):
                running += count
                labels = _labels((*self.labels, "le"), (*values, bound))
                yield f"{self.name}_bucket{labels} {running}"
            labels = _labels(self.labels, values)
            yield f"{self.name}_sum{labels} {total:.9g}"
            yield f"{self.name}_count{labels} {running}"


class Metrics:
    """Everything one service counts.

    Attributes
    ----------
    requests : Counter
        By route, method and status.
    request_seconds : Histogram
        By route: from the first byte of the request to the last of the answer.
    stage_seconds : Histogram
        By index and stage (``encode``, ``search``, ``fetch``).
    errors : Counter
        By error code.
    encode_batch : Histogram
        By index: queries that were encoded together.
    """

    def __init__(self) -> None:
        self.requests = Counter(
            "lsr_http_requests_total", "Requests answered.", ("route", "method", "status")
        )
        self.request_seconds = Histogram(
            "lsr_http_request_seconds", "Time from request to answer.", ("route",)
        )
        self.stage_seconds = Histogram(
            "lsr_search_stage_seconds", "Time of one stage of a search.", ("index", "stage")
        )
        self.errors = Counter("lsr_errors_total", "Errors answered.", ("code",))
        self.encode_batch = Histogram(
            "lsr_encode_batch_queries", "Queries encoded together.", ("index",), SIZE_BUCKETS
        )
        self._started = time.time()
        self._metrics: list[_Metric] = [
            self.requests,
            self.request_seconds,
            self.stage_seconds,
            self.errors,
            self.encode_batch,
            Gauge(
                "lsr_start_time_seconds",
                "When the service started, in seconds since 1970.",
                (),
                lambda: [((), self._started)],
            ),
            Gauge("lsr_process_id", "Of the operating system.", (), lambda: [((), os.getpid())]),
        ]

    def add_gauge(
        self,
        name: str,
        description: str,
        labels: Sequence[str],
        read: Callable[[], Sequence[tuple[tuple[str, ...], float]]],
    ) -> None:
        """Add a number that `read` returns when the metrics are asked for."""
        self._metrics.append(Gauge(name, description, labels, read))

    def render(self) -> str:
        """Return everything in Prometheus' text format."""
        lines: list[str] = []
        for metric in self._metrics:
            lines.extend(metric.render())
        return "\n".join(lines) + "\n"
