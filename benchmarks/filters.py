"""Filtered search of a live collection: recall and latency by selectivity, layout and kind of filter.

Two fields are made up: ``random``, which has nothing to do with the text, and ``topic``, the place
of a document in an order by its heaviest term, so that a range of it is of few topics. Each is
filtered to 50, 10, 1 and 0.1 % of the documents. Recall is that of the best 10 against brute force
over the passing documents; latency is of one thread, the best of 7 runs of each query (the machine
may be shared), after warm-up, the filter's bitmap cached;
``cold`` is the first search with a new filter. ``full`` is the share of queries that got 10 results
where 10 passing documents score.

    python benchmarks/filters.py VECTORS QUERIES.npz [--documents 200000] [--layouts exact,clustered]

QUERIES.npz is a scipy sparse matrix.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import load_npz

from indexing.collection import Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_load import load_batches
from indexing.exact import ExactIndex
from indexing.filters import bitmap
from lsr.core.console import configure, print_table
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, vstack
from lsr.data.vectors import VectorCollection, open_vectors

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
K = 10
REPEATS = 7


class Head:
    """The first documents of an encoded collection."""

    def __init__(self, source: VectorCollection, n_documents: int) -> None:
        self._source = source
        self.n_documents = min(n_documents, source.n_documents)
        self.vocabulary_size = source.vocabulary_size

    def shards(self) -> Iterator[SparseMatrix]:
        """Yield the rows in order."""
        left = self.n_documents
        for shard in self._source.shards():
            if left <= 0:
                return
            yield shard if shard.n_rows <= left else shard.rows(0, left)
            left -= shard.n_rows

    def doc_ids(self) -> Iterator[str]:
        """Yield the ids in order."""
        return islice(self._source.doc_ids(), self.n_documents)

    def matrix(self) -> SparseMatrix:
        """Return all rows."""
        return vstack(self.shards(), self.vocabulary_size)


def fields(matrix: SparseMatrix, seed: int) -> dict[str, Any]:
    """Return the two made-up fields, each a permutation of the rows scaled to [0, 1)."""
    n = matrix.n_rows
    heaviest = np.zeros(n, np.int64)
    for row in range(n):
        low, high = matrix.indptr[row : row + 2]
        if high > low:
            heaviest[row] = matrix.terms[low + np.argmax(matrix.weights[low:high])]
    place = np.empty(n)
    place[np.argsort(heaviest, kind="stable")] = np.arange(n)
    return {"random": np.random.default_rng(seed).permutation(n) / n, "topic": place / n}


def build(
    path: Path, source: Any, vocabulary: Any, values: dict[str, Any], layout: str
) -> Collection:
    collection = Collection.create(
        path,
        vocabulary,
        config=CollectionConfig.model_validate(
            {"index": {"layout": {"kind": layout}}, "exact_below": 0}
        ),
        encoder="benchmark",
        idf="none",
    )
    documents = (
        Document(doc_id, "", "", {name: float(made[row]) for name, made in values.items()})
        for row, doc_id in enumerate(source.doc_ids())
    )
    collection.load(load_batches(source, documents, collection.config.bulk_rows))
    collection.wait()
    return collection


def measure(
    collection: Collection,
    oracle: ExactIndex,
    queries: SparseMatrix,
    name: str | None,
    share: float,
    passing: Any,
) -> dict[str, Any]:
    raw = None if name is None else {"range": {name: {"lt": share}}}
    allowed = None if passing is None else bitmap(np.flatnonzero(passing), oracle.n_documents)
    first = time.perf_counter()
    collection.search(queries.row(0), K, filter=raw)
    cold_ms = (time.perf_counter() - first) * 1e3
    times, hits, wanted, full = [], 0, 0, 0
    for at in range(queries.n_rows):
        query = queries.row(at)
        taken = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            found = collection.search(query, K, filter=raw)
            taken.append((time.perf_counter() - started) * 1e6)
        times.append(min(taken))
        expected = oracle.search(query, K, allowed=allowed)
        # Of equal scores any may stand in for another.
        bound = float(expected.scores[-1]) * (1 - 2e-3) if len(expected.scores) else 0.0
        hits += int((found.scores >= bound).sum())
        wanted += len(expected.rows)
        full += len(found) == len(expected.rows)
    return {
        "filter": "none" if name is None else name,
        "share": share,
        "recall": min(1.0, hits / max(wanted, 1)),
        "full": full / queries.n_rows,
        "median_us": float(np.median(times)),
        "p99_us": float(np.percentile(times, 99)),
        "cold_ms": cold_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--n-queries", type=int, default=200)
    parser.add_argument("--layouts", default="exact")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    configure()
    vectors = open_vectors(args.vectors)
    source = Head(vectors, args.documents)
    queries = SparseMatrix.from_scipy(load_npz(args.queries)).rows(0, args.n_queries)
    matrix = source.matrix()
    oracle = ExactIndex.from_matrix(matrix)
    values = fields(matrix, args.seed)
    del matrix
    results = []
    for layout in args.layouts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with build(Path(folder) / "live", source, vectors.vocabulary, values, layout) as live:
                load_s = time.perf_counter() - started
                live.merge()
                merge_s = time.perf_counter() - started - load_s
                cases = [(name, share) for name in values for share in SELECTIVITIES]
                rows = [measure(live, oracle, queries, None, 1.0, None)] + [
                    measure(live, oracle, queries, name, share, values[name] < share)
                    for name, share in cases
                ]
            results += [{"layout": layout, "load_s": load_s, "merge_s": merge_s, **r} for r in rows]
            print_table(
                list(rows[0]),
                [list(r.values()) for r in rows],
                title=f"{layout}: loaded in {load_s:.1f} s, merged in {merge_s:.1f} s",
            )
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
