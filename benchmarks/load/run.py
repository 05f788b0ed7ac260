"""Mixed load over HTTP on one machine, with locust: searches, upserts, memory over time.

    python benchmarks/load/run.py COLLECTION VECTORS CORPUS QUERIES [--locust locust]
        [--upserts 0,10,100] [--seconds 300] [--users 8] [--workers 1]

COLLECTION is a live collection (it is copied first), VECTORS and CORPUS the encoded collection and
the JSON lines it was made of (they give the documents that are written), QUERIES JSON lines with
``text``. The service runs as ``lsr serve`` starts it; the load generator shares its processors.
`--locust` names locust's command, which may live in an environment of its own (pip install locust).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

from lsr.core.manifest import describe_machine
from lsr.data.vectors import open_vectors

HERE = Path(__file__).parent
SERVE = "from lsr.cli import main; main()"


def write_upserts(vectors: Path, corpus: Path, out: Path, n: int) -> None:
    """Write `n` documents with their vectors as request bodies without ids."""
    source = open_vectors(vectors)
    token = source.vocabulary.token
    rows = (vector for shard in source.shards() for vector in shard)
    with open(corpus, encoding="utf-8") as lines, open(out, "w", encoding="utf-8") as stream:
        for line, vector in islice(zip(lines, rows, strict=False), n):
            document = json.loads(line)
            pairs = zip(vector.terms.tolist(), vector.weights.tolist(), strict=True)
            body = {
                "title": document.get("title", ""),
                "text": document["text"],
                "vector": {token(term): float(f"{weight:.4g}") for term, weight in pairs},
            }
            stream.write(json.dumps(body, ensure_ascii=False) + "\n")


def resident_mb(pids: list[int]) -> tuple[float, float]:
    """Return the memory of some processes in MB: their own, and with the mapped files."""
    own = mapped = 0.0
    for pid in pids:
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        own += int(fields["RssAnon"].split()[0]) / 1024
        mapped += int(fields["VmRSS"].split()[0]) / 1024
    return own, mapped


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def load(args: argparse.Namespace, work: Path, rate: int) -> dict[str, Any]:
    """Run one load and return its figures."""
    collection = work / "collection"
    shutil.rmtree(collection, ignore_errors=True)
    shutil.copytree(args.collection, collection)
    command = [sys.executable, "-c", SERVE, "serve", str(collection), "--name", "wiki",
               "--port", "0", "--json", "--no-access-log", "--workers", str(args.workers)]  # fmt: skip
    memory: list[tuple[float, float]] = []
    stop = threading.Event()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        try:
            assert service.stdout is not None
            lines: list[str] = []
            while not lines or lines[-1].strip() != "}":
                lines.append(service.stdout.readline())
                assert lines[-1], "the service did not start"
            url = json.loads("".join(lines))["url"]

            def watch() -> None:
                while not stop.wait(1.0):
                    memory.append(resident_mb(family(service.pid)))

            watcher = threading.Thread(target=watch)
            watcher.start()
            environment = {
                **os.environ,
                "QUERIES": str(work / "queries.txt"),
                "UPSERTS": str(work / "upserts.jsonl"),
                "UPSERTS_PER_S": str(rate),
            }
            subprocess.run(
                [args.locust, "-f", str(HERE / "locustfile.py"), "--headless", "--host", url,
                 "-u", str(args.users + rate), "-r", "50", "-t", f"{args.seconds}s",
                 "--csv", str(work / "locust"), "--only-summary"],
                env=environment, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stop.set()
            watcher.join()
        finally:
            service.terminate()
    with open(work / "locust_stats.csv", encoding="utf-8", newline="") as table:
        rows = {row["Name"]: row for row in csv.DictReader(table)}
    minutes = [memory[at] for at in range(0, len(memory), 60)] + memory[-1:]
    return {
        "upserts_per_s": rate,
        "load": os.getloadavg()[0],
        **{
            f"{name}_{key}": float(row[column])
            for name, row in rows.items()
            if name in ("search", "upsert")
            for key, column in (
                ("per_s", "Requests/s"),
                ("p50_ms", "50%"),
                ("p99_ms", "99%"),
                ("requests", "Request Count"),
                ("failures", "Failure Count"),
            )
        },
        "own_mb": [round(own) for own, _ in minutes],
        "rss_mb": [round(mapped) for _, mapped in minutes],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--locust", default="locust")
    parser.add_argument("--upserts", default="0,10,100")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_upserts(args.vectors, args.corpus, work / "upserts.jsonl", 5000)
        with open(args.queries, encoding="utf-8") as lines:
            texts = [str(json.loads(line)["text"]).replace("\n", " ") for line in lines]
        (work / "queries.txt").write_text("\n".join(texts), encoding="utf-8")
        rows = []
        for rate in map(int, args.upserts.split(",")):
            rows.append(load(args, work, rate))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            time.sleep(1)
    report = {"machine": describe_machine().model_dump(), "rows": rows}
    print(json.dumps(report), file=sys.stderr)
    print(
        "| upserts a second | searches a second | p50 ms | p99 ms | upsert p50 ms | p99 ms "
        "| failures | own memory, MB, minute by minute |\n|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        writes = (
            f"{row['upsert_p50_ms']:.0f} | {row['upsert_p99_ms']:.0f}"
            if "upsert_p50_ms" in row
            else " | "
        )
        failures = row["search_failures"] + row.get("upsert_failures", 0)
        print(
            f"| {row.get('upsert_per_s', 0):.0f} | {row['search_per_s']:.0f} "
            f"| {row['search_p50_ms']:.0f} | {row['search_p99_ms']:.0f} | {writes} "
            f"| {failures:.0f} | {', '.join(map(str, row['own_mb']))} |"
        )


if __name__ == "__main__":
    main()
