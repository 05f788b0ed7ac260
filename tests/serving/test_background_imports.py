"""Documents that are acknowledged before they are encoded: durable, in order, reported, bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from lsr.core.errors import StorageError
from lsr.encoders.lexical import LexicalEncoder
from tests.serving.test_collections_api import (
    BODY,
    ended,
    found,
    make,
    problem,
    service,
)

# Fixtures that both files use.
from tests.serving.test_collections_api import api as api  # noqa: PLC0414
from tests.serving.test_collections_api import data as data  # noqa: PLC0414
from tests.serving.test_collections_api import encoder_path as encoder_path  # noqa: PLC0414

WRITE = "/v1/indexes/news/documents"


class Gate:
    """Holds up the encoder of a collection until it is opened; counts what went through."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.texts: list[str] = []
        self.failures: list[Exception] = []

    def encode_documents(self, texts: list[str]) -> Any:
        self.entered.set()
        assert self.opened.wait(20)
        if self.failures:
            raise self.failures.pop(0)
        self.texts += texts
        return self.inner.encode_documents(texts)


def gated(api: TestClient) -> Gate:
    make(api)
    (served,) = api.app.state.service.catalog.all()  # type: ignore[attr-defined]
    gate = Gate(served.engine.document_encoder)
    served.engine.document_encoder = gate
    return gate


def lines(documents: Any) -> str:
    return "\n".join(json.dumps(document) for document in documents)


def stats(api: TestClient) -> Any:
    return api.get("/v1/indexes/news/stats").json()["collection"]


def test_taken_now_and_written_later(api: TestClient) -> None:
    gate = gated(api)
    answer = api.post(f"{WRITE}?wait=false", json=BODY)
    assert answer.status_code == 202
    task = answer.json()
    assert (task["kind"], task["index"], task["total"]) == ("import", "news", 5)
    assert gate.entered.wait(5)
    assert stats(api)["pending_documents"] == 5
    assert 'lsr_documents_pending{index="news"} 5' in api.get("/metrics").text
    assert found(api, "super bowl") == []
    gate.opened.set()
    task = ended(api, answer)
    assert task["state"] == "succeeded" and task["done"] == 5
    assert task["result"] == {"n_added": 5, "n_replaced": 0, "n_failed": 0, "problems": []}
    assert stats(api)["pending_documents"] == 0 and stats(api)["inbox_bytes"] == 0
    assert found(api, "super bowl")[0] == "bowl"


def test_bad_lines_are_told_in_the_result(api: TestClient) -> None:
    make(api)
    body = "\n".join(
        [
            lines([{"doc_id": "a", "text": "super", "metadata": {"year": 1}}]),
            "{not json",
            lines([{"doc_id": "b", "text": "bowl", "metadata": {"year": "late"}}]),
            '{"doc_id": "c", "text": "x", "metadata": {"n": NaN}}',
            lines([{"doc_id": "d", "vector": {"zzz": 1.0}}]),
            '{"doc_id": "e", "text": "\\ud800"}',
            lines([{"doc_id": "f", "text": "network"}]),
        ]
    )
    task = ended(api, api.post(f"{WRITE}/import?wait=false", content=body))
    assert task["state"] == "succeeded", task
    assert (task["result"]["n_added"], task["result"]["n_failed"]) == (2, 5)
    assert [p["line"] for p in task["result"]["problems"]] == [2, 3, 4, 5, 6]
    assert sorted(found(api, "super network")) == ["a", "f"]


def test_later_writes_wait_where_order_shows(api: TestClient) -> None:
    gate = gated(api)
    first = {"documents": [{"doc_id": "a", "text": "super"}, {"doc_id": "b", "text": "super"}]}
    answer = api.post(f"{WRITE}?wait=false", json=first)
    assert gate.entered.wait(5)
    own = {"doc_id": "z", "text": "x", "vector": {"york": 1.0}}
    # Another document: nothing to wait for.
    assert api.post(WRITE, json={"documents": [own]}).status_code == 200
    assert found(api, "york") == ["z"]
    answers: list[Any] = []

    def send(method: str, path: str, body: Any) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: answers.append(api.request(method, path, json=body))
        )
        thread.start()
        return thread

    threads = [
        send("POST", WRITE, {"documents": [{**own, "doc_id": "a"}]}),
        send("DELETE", f"{WRITE}/b", None),
        send("POST", f"{WRITE}/delete", {"filter": {"not": {"exists": "year"}}}),
    ][:2]
    time.sleep(0.1)
    assert answers == []
    gate.opened.set()
    for thread in threads:
        thread.join()
    assert ended(api, answer)["state"] == "succeeded"
    assert found(api, "super") == []


def test_trouble_that_passes(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.writing._RETRY_S", 0.05)
    gate = gated(api)
    gate.failures = [StorageError("The disk is full."), ZeroDivisionError("a bug")]
    answer = api.post(f"{WRITE}?wait=false", json=BODY)
    gate.opened.set()
    task = ended(api, answer)
    assert task["state"] == "succeeded" and task["result"]["n_added"] == 5
    assert task["trouble"] == ""


def test_an_import_is_cancelled(api: TestClient, data: Path) -> None:
    gate = gated(api)
    many = [{"doc_id": str(n), "text": "super"} for n in range(200)]
    answer = api.post(f"{WRITE}/import?wait=false", content=lines(many))
    assert gate.entered.wait(5)
    assert api.post(f"/v1/tasks/{answer.json()['id']}/cancel").status_code == 200
    gate.opened.set()
    task = ended(api, answer)
    assert task["state"] == "cancelled"
    assert 0 < task["done"] < 200
    assert api.get("/v1/indexes/news").json()["n_documents"] == task["done"]
    assert list((data / "collections" / "news" / "inbox").iterdir()) == []


def test_a_deleted_collection_takes_its_imports_along(api: TestClient) -> None:
    gate = gated(api)
    first = api.post(f"{WRITE}?wait=false", json=BODY)
    second = api.post(f"{WRITE}?wait=false", json=BODY)
    assert gate.entered.wait(5)
    deleting = threading.Thread(target=lambda: api.delete("/v1/indexes/news"))
    deleting.start()
    while api.get("/v1/indexes/news").status_code != 404:
        time.sleep(0.01)
    gate.opened.set()
    deleting.join()
    assert ended(api, first)["state"] in ("succeeded", "cancelled")
    assert ended(api, second)["state"] == "cancelled"
    make(api)
    assert found(api, "super bowl") == []


def test_the_inbox_is_bounded(data: Path, encoder_path: Path) -> None:
    with service(data, encoder_path, max_inbox_bytes=2000) as api:
        gate = gated(api)
        first = api.post(f"{WRITE}?wait=false", json=BODY)
        assert first.status_code == 202
        second = api.post(f"{WRITE}?wait=false", json={"documents": BODY["documents"] * 3})
        full = problem(second, 429)
        assert full["code"] == "write_queue_full" and second.headers["retry-after"]
        gate.opened.set()
        assert ended(api, first)["state"] == "succeeded"
        assert stats(api)["inbox_bytes"] == 0
        huge = lines([{"doc_id": str(n), "text": "super " * 20} for n in range(50)])
        assert problem(api.post(f"{WRITE}/import?wait=false", content=huge), 413)
        assert stats(api)["inbox_bytes"] == 0
        assert api.post(f"{WRITE}?wait=false", json=BODY).status_code == 202
        states = {task["state"] for task in api.get("/v1/tasks").json()["tasks"]}
        assert states <= {"succeeded", "failed", "running", "queued"}


def test_documents_that_nobody_could_encode_are_not_taken(api: TestClient) -> None:
    api.post("/v1/indexes", json={"name": "news", "vocabulary": ["super"]})
    assert (
        "no document encoder" in problem(api.post(f"{WRITE}?wait=false", json=BODY), 422)["message"]
    )


def test_a_damaged_line_is_told_and_the_others_are_written(data: Path, encoder_path: Path) -> None:
    with service(data, encoder_path) as api:
        gate = gated(api)
        api.post(f"{WRITE}?wait=false", json=BODY)
        assert gate.entered.wait(5)
        (file,) = (data / "collections" / "news" / "inbox").glob("*.jsonl")
        content = bytearray(file.read_bytes())
        kept = file.read_bytes()
        gate.opened.set()
    content[len(content.split(b"\n")[0]) + 30] ^= 1
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    assert kept != content
    with service(data, encoder_path) as api:
        (task,) = api.get("/v1/tasks").json()["tasks"]
        while task["state"] not in ("succeeded", "failed"):
            task = api.get(f"/v1/tasks/{task['id']}").json()
        assert task["result"]["n_failed"] == 1
        assert task["result"]["problems"][0]["line"] == 2


@contextmanager
def process(data: Path, encoder_path: Path) -> Iterator[tuple[Any, httpx.Client]]:
    code = (
        "import typer; from serving import commands; app = typer.Typer(); "
        "commands.register(app); app()"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LSR_SERVE_")}
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--data", str(data), "--encoder",
         f"words={encoder_path}", "--port", "0", "--json", "--quiet", "--no-access-log"],
        stdout=subprocess.PIPE, text=True, env=environment,
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            told: list[str] = []
            while not told or told[-1].strip() != "}":
                told.append(running.stdout.readline())
            url = json.loads("".join(told))["url"]
            # Patient: the machine may be busy with other things.
            with httpx.Client(base_url=url, timeout=60) as client:
                yield running, client
        finally:
            running.kill()


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(
    tmp_path: Path, encoder_path: Path, encoder: LexicalEncoder
) -> None:
    n = 3000
    many = lines({"doc_id": str(at), "text": "super bowl network"} for at in range(n))
    with process(tmp_path / "data", encoder_path) as (running, client):
        made = client.post("/v1/indexes", json={"name": "news", "encoder": "words"})
        assert made.status_code == 201
        task = client.post(f"{WRITE}/import?wait=false", content=many).json()
        later = {"documents": [{"doc_id": "0", "text": "normandy"}]}
        second = client.post(f"{WRITE}?wait=false", json=later)
        assert second.status_code == 202
        running.send_signal(signal.SIGKILL)
        running.wait()
    with process(tmp_path / "data", encoder_path) as (running, client):
        until = time.monotonic() + 60
        while client.get("/v1/indexes/news/stats").json()["collection"]["pending_documents"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.get(f"/v1/tasks/{task['id']}").json()["state"] == "succeeded"
        assert client.get("/v1/indexes/news").json()["n_documents"] == n
        # The later one stands, though it came while the earlier waited.
        assert client.get(f"{WRITE}/0").json()["text"] == "normandy"
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0 or running.returncode == -signal.SIGTERM
