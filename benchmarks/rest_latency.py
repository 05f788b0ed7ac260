"""What the service adds to a search: end to end over HTTP against the kernel's own time.

    python benchmarks/rest_latency.py INDEX QUERIES [--n-queries 1000] [--k 10]

INDEX is an index folder, or a live collection, with an inference-free query side; QUERIES a
JSON-lines file with ``text`` (BEIR's ``queries.jsonl``). The service runs as its users run it
(``lsr serve``, as it is configured by default), in a process of its own; the client is one
kept-alive connection of the standard library. Query by query in turn (`eval.latency`): the search
alone in this process, its vector ready and all of the index warm; then text in, JSON out through
the service, with and without the documents' texts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from timed import query_texts, report

from eval.latency import measure_interleaved
from serving.engine import Engine

SERVE = "from lsr.cli import main; main()"


@contextmanager
def service(index: Path) -> Iterator[str]:
    """Run ``lsr serve`` and give its address."""
    command = [sys.executable, "-c", SERVE, "serve", str(index), "--name", "x", "--port", "0",
               "--json", "--quiet"]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1].strip() != "}":
            lines.append(process.stdout.readline())
            assert lines[-1], "the service did not start"
        try:
            yield json.loads("".join(lines))["url"]
        finally:
            process.terminate()


def asker(url: str, queries: list[str], **more: object) -> Callable[[int], bytes]:
    """Return what sends query `i` and reads the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    bodies = [json.dumps({"query": query, **more}).encode() for query in queries]

    def ask(at: int) -> bytes:
        connection.request(
            "POST",
            "/v1/indexes/x/search",
            bodies[at],
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content

    return ask


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--n-queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    queries = query_texts(args.queries, args.n_queries, 7)
    engine = Engine.open(args.index)
    engine.warm_up()
    vectors = [engine.queries.vector(query) for query in queries]
    params = engine.params()
    with service(args.index) as url:
        latencies = measure_interleaved(
            {
                "kernel": lambda at: engine.source.search(vectors[at], args.k, params=params),
                "engine, text in": lambda at: engine.search(queries[at], args.k),
                "REST, ids": asker(url, queries, k=args.k, fields=[]),
                "REST, title and text": asker(url, queries, k=args.k),
            },
            len(queries),
            n_runs=args.runs,
            n_warmup=1,
        )
    kernel = latencies["kernel"].p50_us
    bound = 3 * kernel + 1000
    load = report(latencies, n_documents=engine.n_documents, bound_us=bound)
    print(
        f"{engine.n_documents:,} documents, {len(queries)} queries, k = {args.k}; "
        f"3 x kernel + 1 ms = {bound:.0f} µs; load {load:.1f}\n\n"
        "| | p50 µs | p95 µs | p99 µs |\n|---|---|---|---|"
    )
    for name, latency in latencies.items():
        print(f"| {name} | {latency.p50_us:.0f} | {latency.p95_us:.0f} | {latency.p99_us:.0f} |")
    engine.close()


if __name__ == "__main__":
    main()
