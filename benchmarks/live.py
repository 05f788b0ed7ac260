"""A live collection under load: loading, opening, writing, and searching beside writers.

    python benchmarks/live.py VECTORS QUERIES.npz [--documents 100000] [--seconds 20]

Loads the encoded collection, opens it anew, then searches as fast as one thread can while another
replaces documents, one a write, at 0, 10 and 100 writes a second; in one process, and from a second
process that reads the same files. Times are wall clock: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import load_npz

from indexing.collection import Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_load import load_batches
from lsr.core.console import configure, print_table
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, vstack
from lsr.data.vectors import open_vectors

RATES = (0, 10, 100)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def search_for(live: Collection, queries: SparseMatrix, seconds: float) -> dict[str, float]:
    """Search as fast as one thread can; return the times."""
    rows = list(queries)
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while (started := time.perf_counter()) < stop:
        live.search(rows[len(times) % len(rows)], 10)
        times.append(time.perf_counter() - started)
    taken = np.array(times) * 1e6
    p50, p99 = np.percentile(taken, (50, 99)).tolist()
    return {"searches_a_s": len(times) / seconds, "p50_us": p50, "p99_us": p99}


def write_for(
    live: Collection, vectors: SparseMatrix, rate: int, stop: threading.Event, out: list[float]
) -> None:
    """Replace documents at a steady rate until told to stop; collect the times of the writes."""
    started = time.perf_counter()
    while rate and not stop.is_set():
        row = len(out) % vectors.n_rows
        document = Document(f"new-{row}", "replaced " * 30)
        before = time.perf_counter()
        live.upsert([document], [vectors.row(row)])
        out.append((time.perf_counter() - before) * 1e6)
        stop.wait(max(0.0, started + len(out) / rate - time.perf_counter()))


def read_apart(path: Path, queries: Path, n_queries: int, seconds: float) -> None:
    """Be the second process: print the times of searches as JSON."""
    with Collection.open(path) as live:
        matrix = SparseMatrix.from_scipy(load_npz(queries)).rows(0, n_queries)
        search_for(live, matrix, 1.0)
        json.dump(search_for(live, matrix, seconds), sys.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--n-queries", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--layout", default="exact")
    parser.add_argument("--folder", type=Path, help="Where the collection is made.")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read is not None:
        read_apart(args.read, args.queries, args.n_queries, args.seconds)
        return
    configure()
    vectors = open_vectors(args.vectors)
    queries = SparseMatrix.from_scipy(load_npz(args.queries)).rows(0, args.n_queries)
    batches: list[Any] = []
    n = 0
    for documents, matrix, _ in load_batches(vectors, None, 50_000):
        part = matrix.rows(0, min(matrix.n_rows, args.documents - n))
        batches.append(([d._replace(text="text " * 60) for d in documents[: part.n_rows]], part))
        n += part.n_rows
        if n == args.documents:
            break
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "live"
        config = CollectionConfig.model_validate({"index": {"layout": {"kind": args.layout}}})
        live = Collection.create(
            path, vectors.vocabulary, config=config, encoder="benchmark", idf="none"
        )
        started = time.perf_counter()
        live.load(batches)
        load_s = time.perf_counter() - started
        live.merge()
        merge_s = time.perf_counter() - started - load_s
        live.close()
        fresh = vstack([matrix for _, matrix in batches], vectors.vocabulary_size).rows(0, 5_000)
        del batches
        started = time.perf_counter()
        live = Collection.open(path, mode="w")
        live.search(queries.row(0), 10)
        open_ms = (time.perf_counter() - started) * 1e3
        print(
            f"{n:,} documents: loaded in {load_s:.1f} s, merged in {merge_s:.1f} s, "
            f"opened and searched in {open_ms:.0f} ms"
        )
        search_for(live, queries, 1.0)
        rows = []
        for place in ("same process", "second process"):
            for rate in RATES:
                stop, writes = threading.Event(), list[float]()
                writer = threading.Thread(target=write_for, args=(live, fresh, rate, stop, writes))
                writer.start()
                if place == "same process":
                    found = search_for(live, queries, args.seconds)
                else:
                    command = [sys.executable, __file__, str(args.vectors), str(args.queries)]
                    command += ["--read", str(path), "--seconds", str(args.seconds)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found = json.loads(done.stdout)
                stop.set()
                writer.join()
                taken = np.percentile(writes, (50, 99)).tolist() if writes else [0.0, 0.0]
                rows.append([place, rate, len(writes), *found.values(), *taken, resident_mb()])
        columns = ["searching in", "writes/s", "writes", "searches/s", "p50 us", "p99 us"]
        print_table([*columns, "write p50 us", "write p99 us", "resident MB"], rows)
        live.close()


if __name__ == "__main__":
    main()
