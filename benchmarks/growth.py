"""How query time grows with the collection: our clustered index at two sizes, recall by recall.

    python benchmarks/growth.py SMALL_VECTORS SMALL_QUERIES SMALL_OUT
        LARGE_VECTORS LARGE_QUERIES LARGE_OUT [--n-queries 400] [--k 10]

Indexes are those of ``recall_latency.py`` in its OUT folders, built there if need be. At each size
half of the queries choose the fastest setting for a recall, against exact mode; the other half
is reported, both sizes in turn, the better of two rounds. Times are those of the thread's processor
time, which other jobs of the machine disturb less than the clock's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from recall_latency import TARGETS, read_queries
from rivals import clustered

from lsr.core.console import configure, track
from lsr.data.vectors import open_vectors


class Size:
    """One collection: its index, queries and exact results."""

    def __init__(self, vectors: Path, queries: Path, out: Path, n_queries: int, k: int) -> None:
        collection = open_vectors(vectors)
        out.mkdir(parents=True, exist_ok=True)
        self.n_documents = collection.n_documents
        self.system, exact = clustered(collection, out, n_threads=2)
        self.queries = read_queries(queries, n_queries, seed=1)
        self.half, self.k = n_queries // 2, k
        answer = exact.prepare(self.queries, k, exact.settings[0])
        self.truth = [set(exact.rows_of(answer(i))) for i in range(n_queries)]

    def run(self, setting: dict[str, Any], i: int, answers: dict[str, Any]) -> tuple[float, int]:
        """Return the microseconds of query `i`, and how many of its exact results it found."""
        key = repr(setting)
        if key not in answers:
            answers[key] = self.system.prepare(self.queries, self.k, setting)
        started = time.thread_time_ns()
        result = answers[key](i)
        elapsed = (time.thread_time_ns() - started) / 1000
        return elapsed, len(self.truth[i] & set(self.system.rows_of(result)))

    def share(self, found: list[int], first: int) -> float:
        """Return the recall of queries from `first` on."""
        total = sum(len(rows) for rows in self.truth[first : first + len(found)])
        return sum(found) / max(1, total)

    def choose(self) -> dict[float, dict[str, Any]]:
        """Return the fastest setting for each target on the first half of the queries."""
        points = []
        settings = self.system.settings
        for setting in track(settings, f"{self.n_documents:,}", len(settings), unit="settings"):
            answers: dict[str, Any] = {}
            done = [self.run(setting, i, answers) for i in range(self.half)]
            recall = self.share([found for _, found in done], 0)
            points.append((float(np.median([us for us, _ in done])), recall, setting))
        chosen = {}
        for target in TARGETS:
            able = [point for point in points if point[1] >= target]
            if able:
                chosen[target] = min(able, key=lambda point: point[0])[2]
        return chosen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for size in ("small", "large"):
        for name in ("vectors", "queries", "out"):
            parser.add_argument(f"{size}_{name}", type=Path)
    parser.add_argument("--n-queries", type=int, default=400)
    parser.add_argument("--k", type=int, default=10)
    arguments = parser.parse_args()
    configure()
    options = (arguments.n_queries, arguments.k)
    sizes = [
        Size(arguments.small_vectors, arguments.small_queries, arguments.small_out, *options),
        Size(arguments.large_vectors, arguments.large_queries, arguments.large_out, *options),
    ]
    chosen = [size.choose() for size in sizes]
    print(
        f"| recall target | {sizes[0].n_documents:,}: recall, median / p99 µs | "
        f"{sizes[1].n_documents:,} | growth of the median |\n|---|---|---|---|"
    )
    for target in TARGETS:
        if not all(target in of_size for of_size in chosen):
            continue
        times: list[list[list[float]]] = [[[], []], [[], []]]
        found: list[list[int]] = [[], []]
        answers: list[dict[str, Any]] = [{}, {}]
        for turn in range(2):
            for i in range(sizes[0].half, arguments.n_queries):
                for at, size in enumerate(sizes):
                    us, hits = size.run(chosen[at][target], i, answers[at])
                    times[at][turn].append(us)
                    if turn == 0:
                        found[at].append(hits)
        best = [np.min(of_size, axis=0) for of_size in times]
        cells = [
            f"{size.share(hits, size.half):.3f}, {np.median(us):.0f} / {np.percentile(us, 99):.0f}"
            for size, hits, us in zip(sizes, found, best, strict=True)
        ]
        growth = np.median(best[1]) / np.median(best[0])
        print(f"| {target:.2f} | {cells[0]} | {cells[1]} | {growth:.2f} |")


if __name__ == "__main__":
    main()
