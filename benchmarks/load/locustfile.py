"""What the load test does: people who search without pause, and a stream of upserts beside them.

Run by ``run.py`` beside it; by hand:

    SERVICE=http://127.0.0.1:8000 QUERIES=queries.txt UPSERTS=upserts.jsonl UPSERTS_PER_S=10 \
        locust -f benchmarks/load/locustfile.py --headless -u 8 -t 60s --host http://127.0.0.1:8000

An answer counts as a failure unless it is 200 and, for a search, has hits.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from pathlib import Path

from locust import FastHttpUser, constant, constant_throughput, task

INDEX = os.environ.get("INDEX", "wiki")
RATE = float(os.environ.get("UPSERTS_PER_S", "0"))
QUERIES = Path(os.environ["QUERIES"]).read_text(encoding="utf-8").splitlines()
UPSERTS = Path(os.environ["UPSERTS"]).read_bytes().splitlines() if RATE else []
# A document a second each: the rate is kept whatever a write takes.
WRITERS = round(RATE)
_numbers = itertools.count()


class Searcher(FastHttpUser):
    """Searches again as soon as the answer is there."""

    wait_time = constant(0)

    @task
    def search(self) -> None:
        """Send one search, with its texts and without pause."""
        body = {"query": random.choice(QUERIES), "k": 10}
        path = f"/v1/indexes/{INDEX}/search"
        with self.client.post(path, json=body, name="search", catch_response=True) as answer:
            if answer.status_code != 200 or not json.loads(answer.content)["hits"]:
                answer.failure(f"{answer.status_code} {answer.content[:200]!r}")


class Writer(FastHttpUser):
    """Replaces a document a second."""

    fixed_count = WRITERS
    wait_time = constant_throughput(1)

    @task
    def upsert(self) -> None:
        """Write one document; twenty thousand are there, again and again."""
        number = next(_numbers)
        document = UPSERTS[number % len(UPSERTS)]
        body = b'{"documents": [{"doc_id": "w-%d", %s]}' % (number % 20_000, document[1:])
        self.client.post(
            f"/v1/indexes/{INDEX}/documents",
            data=body,
            headers={"Content-Type": "application/json"},
            name="upsert",
        )


if not WRITERS:
    del Writer
