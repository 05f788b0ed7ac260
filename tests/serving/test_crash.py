"""A service killed at random: after each restart exactly what it had acknowledged.

The model is a dict. Of the one request that was under way at the kill either outcome is right.
"""

from __future__ import annotations

import copy
import random
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.test_background_imports import lines, process

# A fixture that both files use.
from tests.serving.test_collections_api import encoder_path as encoder_path  # noqa: PLC0414

pytestmark = pytest.mark.slow

WORDS = ("super", "bowl", "network", "york", "edison", "tesla")
State = dict[str, dict[str, str]]


class Model:
    """What was acknowledged, and what may have been."""

    def __init__(self) -> None:
        self.certain: State = {}
        self.possible: list[State] = []
        self.n_done = 0

    def step(self, client: httpx.Client, rng: random.Random) -> None:
        """Send one random request; note its effect when it is acknowledged."""
        after = copy.deepcopy(self.certain)
        request = self._draw(rng, after)
        self.possible = [after]
        answer = client.request(*request[:2], **request[2])
        assert answer.status_code < 300, (request, answer.text)
        self.certain, self.possible = after, []
        self.n_done += 1

    def _draw(self, rng: random.Random, after: State) -> tuple[str, str, dict[str, Any]]:
        names = sorted(after)
        if not names or (len(names) < 3 and rng.random() < 0.1):
            name = f"c{rng.randrange(1000)}"
            if name not in after:
                after[name] = {}
                return "POST", "/v1/indexes", {"json": {"name": name, "encoder": "words", "dense_width": 2,
                                                        "config": {"seal_at": 20}}}  # fmt: skip
        name = rng.choice(names)
        path = f"/v1/indexes/{name}"
        kind = rng.choices(("put", "import", "delete", "drop"), (8, 6, 3, 1))[0]
        if kind == "drop":
            del after[name]
            return "DELETE", path, {}
        if kind == "delete":
            doc_ids = [str(rng.randrange(60)) for _ in range(3)]
            for doc_id in doc_ids:
                after[name].pop(doc_id, None)
            return "POST", f"{path}/documents/delete", {"json": {"doc_ids": doc_ids}}
        n = rng.randrange(1, 6 if kind == "put" else 80)
        documents = [
            {"doc_id": str(rng.randrange(60)), "text": text, "dense_vector": numbers(text)}
            for text in (" ".join(rng.choices(WORDS, k=3)) for _ in range(n))
        ]
        after[name].update({d["doc_id"]: d["text"] for d in documents})
        if kind == "put":
            return "POST", f"{path}/documents", {"json": {"documents": documents}}
        return "POST", f"{path}/documents/import?wait=false", {"content": lines(documents)}


def numbers(text: str) -> list[float]:
    """Return a document's dense vector: it goes with the text, so a mix-up shows."""
    return [float(len(text)), float(text.count("e"))]


def state_of(client: httpx.Client) -> State:
    until = time.monotonic() + 30
    listed = client.get("/v1/indexes").json()
    assert listed["unavailable"] == []
    state: State = {}
    for info in listed["indexes"]:
        path = f"/v1/indexes/{info['name']}"
        while client.get(f"{path}/stats").json()["collection"]["pending_documents"]:
            assert time.monotonic() < until
            time.sleep(0.01)
        query = dict.fromkeys(WORDS, 1.0) | {"normandi": 1.0}
        body = {"query": query, "k": 100, "fields": ["text"]}
        hits = client.post(f"{path}/search", json=body).json()["hits"]
        state[info["name"]] = {hit["doc_id"]: hit["document"]["text"] for hit in hits}
        both = {**body, "hybrid": {}, "dense_vector": [1.0, 100.0]}
        found = client.post(f"{path}/search", json=both).json()["hits"]
        assert {hit["doc_id"] for hit in found} == set(state[info["name"]])
        for hit in found:
            length, n_letters = numbers(hit["document"]["text"])
            assert hit["parts"]["dense"]["score"] == length + 100 * n_letters
        assert client.get(path).json()["n_documents"] == len(hits)
    return state


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random(tmp_path: Path, encoder_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    model = Model()
    for _ in range(8):
        with process(tmp_path / "data", encoder_path) as (running, client):
            found = state_of(client)
            assert found in (model.certain, *model.possible)
            model.certain, model.possible = found, []
            for _ in range(rng.randrange(1, 20)):
                model.step(client, rng)
            killer = threading.Timer(rng.uniform(0, 0.2), running.kill)
            killer.start()
            try:
                while True:
                    model.step(client, rng)
            except httpx.HTTPError:
                pass
            killer.join()
            running.wait()
    assert model.n_done >= 8
