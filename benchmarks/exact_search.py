"""Exact search against splade-index: same vectors, one thread, query by query in turn.

    python benchmarks/exact_search.py VECTORS QUERIES [--n-queries 500] [--k 10 100 1000]

VECTORS is an encoded collection, QUERIES a ``.npz`` of scipy (rows are queries) or an encoded
collection. Both sides must return the same scores. Leaves with 1 if ours takes more than 1.2 of
splade-index's median time at any depth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from recall_latency import read_queries
from rivals import exact_layout, splade_index

from eval.latency import measure_interleaved
from lsr.data.vectors import open_vectors

BOUND = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--n-queries", type=int, default=500)
    parser.add_argument("--k", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="for the build")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    vectors = open_vectors(arguments.vectors)
    queries = read_queries(arguments.queries, arguments.n_queries, arguments.seed)
    (ours,) = exact_layout(vectors, arguments.vectors, arguments.threads)
    (rival,) = splade_index(vectors, arguments.vectors, arguments.threads)
    print(
        f"{vectors.n_documents:,} documents of {vectors.nnz / vectors.n_documents:.1f} terms, "
        f"{queries.n_rows} queries of {queries.nnz / queries.n_rows:.1f} terms, one thread"
    )
    print(f"MB: lsr {ours.n_bytes / 1e6:.0f}, splade-index {rival.n_bytes / 1e6:.0f}")
    print(f"{'k':>6} {'lsr µs':>9} {'rival µs':>9} {'ratio':>6} {'lsr p99':>9} {'rival p99':>9}")
    worst = 0.0
    for k in arguments.k:
        answers = {s.name: s.prepare(queries, k, {}) for s in (ours, rival)}
        for query in range(0, queries.n_rows, 10):
            theirs = np.asarray(answers[rival.name](query)[0])
            mine = answers[ours.name](query).scores
            np.testing.assert_allclose(mine, theirs[: len(mine)], rtol=1e-5)
        times = measure_interleaved(answers, queries.n_rows, n_runs=arguments.runs, n_warmup=1)
        left, right = times[ours.name], times[rival.name]
        ratio = left.p50_us / right.p50_us
        worst = max(worst, ratio)
        print(
            f"{k:>6} {left.p50_us:>9.0f} {right.p50_us:>9.0f} {ratio:>6.2f} "
            f"{left.p99_us:>9.0f} {right.p99_us:>9.0f}"
        )
    sys.exit(0 if worst <= BOUND else 1)


if __name__ == "__main__":
    main()
