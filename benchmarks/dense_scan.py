"""The dense half of a live collection: what a search costs by how many documents pass a filter.

Made-up unit vectors and one sparse term a document, loaded into one segment. Milliseconds of one
thread, median over queries of the best of 5 runs, after warm-up; `k` is the depth of a hybrid
search.

    python benchmarks/dense_scan.py [--documents 100000] [--width 384]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from indexing.collection import Batch, Collection
from indexing.collection_config import CollectionConfig
from lsr.core.console import configure, print_table
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
K = 100
REPEATS = 5
N_QUERIES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    args = parser.parse_args()
    configure(quiet=True)
    rng = np.random.default_rng(0)
    n, width = args.documents, args.width
    rows = rng.standard_normal((n, width), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    one = SparseVector.from_mapping({0: 1.0}, 1)
    places = rng.permutation(n).tolist()
    documents = [Document(str(at), "", "", {"place": place}) for at, place in enumerate(places)]
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection.create(
            Path(folder) / "live",
            Vocabulary(["term"]),
            config=CollectionConfig(bulk_rows=n),
            encoder="none",
            idf="none",
            dense=width,
        )
        with collection:
            started = time.perf_counter()
            collection.load([Batch(documents, [one] * n, dense=rows)])
            load_s = time.perf_counter() - started
            queries = rows[rng.choice(n, N_QUERIES, replace=False)]
            view = collection.view()
            lines = []
            for share in SHARES:
                raw = None if share == 1.0 else {"range": {"place": {"lt": int(share * n)}}}
                view.nearest(queries[0], K, filter=raw)
                best = []
                for query in queries:
                    times = []
                    for _ in range(REPEATS):
                        started = time.perf_counter()
                        view.nearest(query, K, filter=raw)
                        times.append(time.perf_counter() - started)
                    best.append(min(times))
                lines.append((f"{share:.1%}", round(float(np.median(best)) * 1000, 2)))
    print_table(
        ["passing", "ms"],
        lines,
        title=f"{n:,} documents of {width} numbers, k = {K}; loaded in {load_s:.1f} s",
    )


if __name__ == "__main__":
    main()
