"""Recall against latency: our clustered index, pyseismic-lsr, bmp, splade-index, exact mode.

    python benchmarks/recall_latency.py VECTORS QUERIES OUT [--systems clustered,seismic]
        [--layout dense_share=0.02 --layout wide_rows=16]
        [--n-queries 1000] [--k 10] [--threads 2] [--runs 3]

VECTORS is an encoded collection, QUERIES a ``.npz`` of scipy (rows are queries) or an encoded
collection. ``seismic:default`` takes one of its builds; ``--layout`` sets fields of the clustered
layout. Indexes are built once and kept in OUT; the figures go to OUT/results.json and
OUT/results.md, the plot to OUT/curve.svg.

Every system answers the same queries on one thread in one process. Half of the queries choose,
for every recall target and system, the fastest setting that reaches it, over all builds and
settings of a grid; the other half is reported: there the chosen settings of all systems are timed
query by query in turn (`eval.latency.measure_interleaved`), so that whatever else the machine does
hits all alike. Recall is against exact float32 scores (exact mode above two million documents).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rivals import SYSTEMS, System

from eval.latency import Latency, measure_interleaved
from indexing.exact import ExactIndex
from lsr.core.console import configure, track
from lsr.core.manifest import describe_machine, source_commit
from lsr.core.sparse import SparseMatrix
from lsr.data.vectors import VectorCollection, open_vectors

TARGETS = (0.90, 0.95, 0.97, 0.99)
ORACLE_LIMIT = 2_000_000


@dataclass
class Tuned:
    """One system's settings measured on the choosing half of the queries."""

    system: System
    setting: dict[str, Any]
    recall: float
    median_us: float


def read_queries(path: Path, n: int, seed: int) -> SparseMatrix:
    """Return `n` queries drawn with the seed."""
    if path.suffix == ".npz":
        import scipy.sparse

        queries = SparseMatrix.from_scipy(scipy.sparse.load_npz(path))
    else:
        queries = open_vectors(path).matrix()
    filled = np.flatnonzero(np.diff(queries.indptr))
    return queries.take(np.random.default_rng(seed).permutation(filled)[:n])


def oracle(
    vectors: VectorCollection, queries: SparseMatrix, k: int, systems: list[System], n_threads: int
) -> list[set[int]]:
    """Return the exact rows of every query."""
    if vectors.n_documents <= ORACLE_LIMIT:
        index = ExactIndex.from_matrix(vectors.matrix(), n_threads=n_threads)
        found = index.search_batch(queries, k, n_threads=n_threads)
        return [set(found[i].rows.tolist()) for i in range(len(found))]
    exact = next(system for system in systems if system.exact)
    answer = exact.prepare(queries, k, exact.settings[0])
    return [set(exact.rows_of(answer(i))) for i in range(queries.n_rows)]


def measure(
    system: System, setting: dict[str, Any], queries: SparseMatrix, truth: list[set[int]], k: int
) -> Tuned:
    """Return recall and median time of one setting, one timed pass."""
    answer = system.prepare(queries, k, setting)
    times, found = np.empty(queries.n_rows), 0
    for i in range(min(20, queries.n_rows)):
        answer(i)
    for i in range(queries.n_rows):
        start = time.perf_counter_ns()
        result = answer(i)
        times[i] = (time.perf_counter_ns() - start) / 1000
        found += len(truth[i] & set(system.rows_of(result)))
    recall = found / max(1, sum(len(rows) for rows in truth))
    return Tuned(system, setting, recall, float(np.median(times)))


def pareto(points: list[Tuned]) -> list[Tuned]:
    """Return the points that no other beats in both recall and time, fastest first."""
    front: list[Tuned] = []
    for point in sorted(points, key=lambda p: (p.median_us, -p.recall)):
        if not front or point.recall > front[-1].recall:
            front.append(point)
    return front


def choose(points: list[Tuned], target: float) -> Tuned | None:
    """Return the fastest point that reaches the target, or None."""
    able = [point for point in points if point.recall >= target]
    return min(able, key=lambda point: point.median_us) if able else None


def compare(
    tuned: dict[str, list[Tuned]], queries: SparseMatrix, truth: list[set[int]], k: int, runs: int
) -> list[dict[str, Any]]:
    """Time the chosen settings of all families at each target in turn on the reported queries."""
    rows = []
    for target in track(TARGETS, "Reporting", len(TARGETS), unit="targets"):
        chosen = {family: choose(points, target) for family, points in tuned.items()}
        present = {family: point for family, point in chosen.items() if point is not None}
        answers = {
            family: point.system.prepare(queries, k, point.setting)
            for family, point in present.items()
        }
        # Exhaustive systems sweep the caches clean: they are timed among themselves.
        latencies: dict[str, Latency] = {}
        for exact in (False, True):
            group = {f: a for f, a in answers.items() if present[f].system.exact == exact}
            if group:
                latencies |= measure_interleaved(group, queries.n_rows, n_runs=runs, n_warmup=1)
        for family, point in present.items():
            found = sum(
                len(truth[i] & set(point.system.rows_of(answers[family](i))))
                for i in range(queries.n_rows)
            )
            rows.append(
                {
                    "target": target,
                    "family": family,
                    "index": point.system.name,
                    "setting": point.setting,
                    "recall": found / max(1, sum(len(t) for t in truth)),
                    **latencies[family].model_dump(),
                }
            )
    return rows


def markdown(report: dict[str, Any]) -> str:
    """Return the table of a report, with ratios of our time to each rival's."""
    lines = [
        (
            f"{report['n_documents']:,} documents of {report['terms_per_document']:.1f} terms, "
            f"{report['n_reported']} reported queries of {report['terms_per_query']:.1f} terms, "
            f"k = {report['k']}, one thread."
        ),
        "",
        "| recall target | system | recall | median µs | p99 µs | ours ÷ it, median | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for target in TARGETS:
        rows = [row for row in report["rows"] if row["target"] == target]
        for row in rows:
            exact = row["family"] in report["exact"]
            mine = "lsr exact mode" if exact else "lsr clustered"
            ours = next((row for row in rows if row["family"] == mine), None)
            ratio = ["", ""]
            if ours is not None and row is not ours:
                ratio = [
                    f"{ours['p50_us'] / row['p50_us']:.2f}",
                    f"{ours['p99_us'] / row['p99_us']:.2f}",
                ]
            lines.append(
                f"| {target:.2f} | {row['index']} | {row['recall']:.3f} | {row['p50_us']:.0f} "
                f"| {row['p99_us']:.0f} | {ratio[0]} | {ratio[1]} |"
            )
    lines += ["", "| index | MB | build s |", "|---|---|---|"]
    for index in report["indexes"]:
        built = "" if index["build_s"] is None else f"{index['build_s']:.1f}"
        lines.append(f"| {index['name']} | {index['n_bytes'] / 1e6:.0f} | {built} |")
    return "\n".join(lines) + "\n"


def plot(tuned: dict[str, list[Tuned]], title: str, path: Path) -> None:
    """Write the Pareto fronts of the choosing half, time on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for marker, (family, points) in zip("osD^vPX", tuned.items(), strict=False):
        front = pareto(points)
        axes.plot(
            [point.recall for point in front],
            [point.median_us for point in front],
            marker=marker,
            label=family,
        )
    axes.set(yscale="log", xlim=(0.8, 1.002), xlabel="recall@k", ylabel="median µs a query")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument(
        "--layout", action="append", default=[], metavar="KEY=VALUE", help="of the clustered index"
    )
    parser.add_argument("--n-queries", type=int, default=1_000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2, help="for builds")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build-only", action="store_true")
    arguments = parser.parse_args()
    configure()
    vectors = open_vectors(arguments.vectors)
    arguments.out.mkdir(parents=True, exist_ok=True)
    systems: list[System] = []
    for name in arguments.systems.split(","):
        family, _, build = name.partition(":")
        options: dict[str, Any] = {"build_name": build} if build else {}
        if family == "clustered":
            pairs = (pair.split("=", 1) for pair in arguments.layout)
            options["layout"] = {key: float(value) for key, value in pairs}
        systems += SYSTEMS[family](vectors, arguments.out, arguments.threads, **options)
    if arguments.build_only:
        return
    queries = read_queries(arguments.queries, arguments.n_queries, arguments.seed)
    truth = oracle(vectors, queries, arguments.k, systems, arguments.threads)
    half = queries.n_rows // 2
    choosing, reported = queries.rows(0, half), queries.rows(half, queries.n_rows)

    tuned: dict[str, list[Tuned]] = {}
    settings = [(system, setting) for system in systems for setting in system.settings]
    for system, setting in track(settings, "Tuning", len(settings), unit="settings"):
        point = measure(system, setting, choosing, truth[:half], arguments.k)
        tuned.setdefault(system.family, []).append(point)
    report: dict[str, Any] = {
        "commit": source_commit(),
        "machine": describe_machine().model_dump(),
        "vectors": vectors.manifest.config or str(arguments.vectors.name),
        "n_documents": vectors.n_documents,
        "terms_per_document": vectors.nnz / max(1, vectors.n_documents),
        "terms_per_query": queries.nnz / queries.n_rows,
        "n_reported": reported.n_rows,
        "k": arguments.k,
        "exact": [system.family for system in systems if system.exact],
        "indexes": [
            {"name": s.name, "n_bytes": s.n_bytes, "build_s": s.build_s, "build": s.build}
            for s in systems
        ],
        "curves": {
            family: [
                {
                    "index": p.system.name,
                    "setting": p.setting,
                    "recall": p.recall,
                    "us": p.median_us,
                }
                for p in points
            ]
            for family, points in tuned.items()
        },
        "rows": compare(tuned, reported, truth[half:], arguments.k, arguments.runs),
    }
    (arguments.out / "results.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
    table = markdown(report)
    (arguments.out / "results.md").write_text(table)
    if find_spec("matplotlib"):
        plot(tuned, f"{vectors.n_documents:,} documents, one thread", arguments.out / "curve.svg")
    else:
        print("No curve.svg: matplotlib is not installed.", file=sys.stderr)
    print(table)


if __name__ == "__main__":
    main()
