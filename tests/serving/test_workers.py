"""Several processes behind one port: real ones, some of them killed."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing.collection import Collection
from lsr.encoders.lexical import LexicalEncoder
from serving.forwarding import WRITER, Place, answered_by_workers, merged
from serving.keys import KeyRing
from tests.serving.conftest import DOCUMENTS
from tests.serving.test_operations import NEEDED

LSR = (sys.executable, "-c", "from lsr.cli import main; main()")
SEARCH = "/v1/indexes/live/search"
DOCUMENTS_PATH = "/v1/indexes/live/documents"


@dataclass
class Running:
    """A running ``lsr serve``."""

    process: subprocess.Popen[str]
    client: httpx.Client

    def pids(self) -> dict[str, int]:
        """Return the service's processes by name, from their metrics."""
        text = self.client.get("/metrics").text
        found = {}
        for line in text.splitlines():
            if line.startswith("lsr_process_id{"):
                labels, _, value = line.partition("} ")
                found[labels.partition('process="')[2].rstrip('"')] = int(float(value))
        return found

    def until_pids(self, wanted: Any) -> dict[str, int]:
        """Return the processes once `wanted` says so of them."""
        for _ in range(300):
            try:
                pids = self.pids()
            except httpx.TransportError:
                pids = {}
            if wanted(pids):
                return pids
            time.sleep(0.1)
        raise AssertionError(f"the processes stay {pids}")


@contextmanager
def serving(path: Path, data: Path, *options: str) -> Iterator[Running]:
    command = [
        *LSR, "serve", str(path), "--name", "live", "--port", "0",
        "--data", str(data), "--no-access-log", "--workers", "2", "--json", *options,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first = ""
            for line in process.stdout:
                first += line
                if line.startswith("}"):
                    break
            url = json.loads(first)["url"]
            with httpx.Client(base_url=url, timeout=30) as client:
                yield Running(process, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, encoder: LexicalEncoder) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("workers")
    encoder.save_query_side(root / "side")
    with Collection.create(
        root / "live",
        encoder.vocabulary,
        encoder=encoder.name,
        idf=encoder.idf,
        query_encoder=root / "side",
    ) as made:
        made.upsert(DOCUMENTS, encoder.encode_documents([d.content for d in DOCUMENTS]))
    with serving(root / "live", root / "data") as running:
        yield running


def test_what_one_process_writes_all_of_them_find(running: Running) -> None:
    assert set(running.pids()) == {WRITER, "1", "2"}
    url = running.client.base_url
    for number in range(20):
        body = {"documents": [{"doc_id": "new", "text": f"Edison network {number}"}]}
        answer = running.client.post(DOCUMENTS_PATH, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        # A connection of its own each: the kernel chooses the process.
        found = httpx.post(f"{url}{SEARCH}", json={"query": "edison network", "k": 9}).json()[
            "hits"
        ]
        assert f"Edison network {number}" in [hit["document"]["text"] for hit in found]
    assert running.client.delete(f"{DOCUMENTS_PATH}/new").json()["n_deleted"] == 1
    assert running.client.delete(f"{DOCUMENTS_PATH}/new").status_code == 404


def test_a_stream_goes_to_the_writer_and_errors_come_back(running: Running) -> None:
    lines = [json.dumps({"doc_id": f"s{n}", "text": "stream"}).encode() + b"\n" for n in range(300)]
    answer = running.client.post(f"{DOCUMENTS_PATH}/import", content=iter([*lines, b"{\n"]))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["n_added"], answer.json()["n_failed"]) == (300, 1)
    body = {"doc_ids": [f"s{n}" for n in range(300)]}
    assert running.client.post(f"{DOCUMENTS_PATH}/delete", json=body).json()["n_deleted"] == 300
    assert running.client.post(f"{DOCUMENTS_PATH}", json={}).status_code == 422
    assert running.client.get("/v1/indexes/live").json()["updatable"] is True
    too_large = running.client.post(DOCUMENTS_PATH, content=iter([b" " * (1 << 20)] * 6))
    assert too_large.status_code == 413


def test_a_collection_made_while_it_runs_is_everywhere_at_once(running: Running) -> None:
    url = running.client.base_url
    made = running.client.post("/v1/indexes", json={"name": "fresh", "vocabulary": ["a", "b"]})
    assert made.status_code in (200, 201), made.text
    body = {"documents": [{"doc_id": "d", "text": "", "vector": {"a": 2.0}}]}
    assert running.client.post("/v1/indexes/fresh/documents", json=body).status_code == 200
    for _ in range(10):
        answer = httpx.post(f"{url}/v1/indexes/fresh/search", json={"query": {"a": 1.5}})
        assert [hit["score"] for hit in answer.json()["hits"]] == [3.0]
    assert running.client.delete("/v1/indexes/fresh").status_code in (200, 204)
    # Before any process is asked for it again: a deleted collection takes no process out of sight.
    for _ in range(4):
        with httpx.Client(base_url=url) as client:
            assert set(Running(running.process, client).pids()) == {WRITER, "1", "2"}
    for _ in range(10):
        answer = httpx.post(f"{url}/v1/indexes/fresh/search", json={"query": {"a": 1.5}})
        assert answer.status_code == 404


def test_a_killed_worker_is_replaced_and_the_others_answer(running: Running) -> None:
    before = running.until_pids(lambda pids: len(pids) == 3)
    stop, failures, answers = threading.Event(), list[str](), list[int]()

    def search() -> None:
        while not stop.is_set():
            try:
                with httpx.Client(base_url=running.client.base_url, timeout=30) as client:
                    answer = client.post(SEARCH, json={"query": "new york", "k": 3})
                answers.append(answer.status_code)
                if answer.status_code != 200:
                    failures.append(answer.text)
            except httpx.TransportError as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    os.kill(before["1"], signal.SIGKILL)
    after = running.until_pids(lambda pids: len(pids) == 3 and pids.get("1") != before["1"])
    stop.set()
    for thread in threads:
        thread.join()
    assert after["2"] == before["2"]
    assert after[WRITER] == before[WRITER]
    assert len(answers) > 20
    # What the killed process had in its hands is lost, one request a thread at most.
    assert len(failures) <= 3, failures


def test_a_killed_writer_loses_nothing_that_was_acknowledged(running: Running) -> None:
    before = running.until_pids(lambda pids: len(pids) == 3)
    acknowledged: dict[str, str] = {}
    refused: list[dict[str, Any]] = []
    for number in range(60):
        if number == 20:
            os.kill(before[WRITER], signal.SIGKILL)
        text = f"Edison {number}"
        body = {"documents": [{"doc_id": f"w{number % 7}", "text": text}]}
        answer = running.client.post(DOCUMENTS_PATH, json=body)
        if answer.status_code == 200:
            acknowledged[f"w{number % 7}"] = text
        else:
            assert answer.status_code == 503
            refused.append(answer.json()["error"])
            acknowledged.pop(f"w{number % 7}", None)  # not known whether it was done
        # Searches never wait for the writer.
        assert running.client.post(SEARCH, json={"query": "edison"}).status_code == 200
    assert {error["code"] for error in refused} <= {"writer_unavailable"}
    assert len(refused) <= 2
    after = running.until_pids(lambda pids: len(pids) == 3)
    assert after[WRITER] != before[WRITER]
    for doc_id, text in acknowledged.items():
        assert running.client.get(f"{DOCUMENTS_PATH}/{doc_id}").json()["text"] == text
    found = running.client.post(SEARCH, json={"query": "edison", "k": 50}).json()["hits"]
    shown = {hit["doc_id"]: hit["document"]["text"] for hit in found}
    assert {doc_id: shown.get(doc_id) for doc_id in acknowledged} == acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_ends(
    tmp_path: Path, encoder: LexicalEncoder, how: signal.Signals
) -> None:
    Collection.create(
        tmp_path / "live", encoder.vocabulary, encoder=encoder.name, idf=encoder.idf
    ).close()
    with serving(tmp_path / "live", tmp_path / "data") as running:
        pids = running.until_pids(lambda pids: len(pids) == 3)
        running.process.send_signal(how)
        assert running.process.wait(30) == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    left = set(pids.values())
    for _ in range(200):
        left = {pid for pid in left if Path(f"/proc/{pid}").exists()}
        if not left:
            break
        time.sleep(0.1)
    assert not left
    # The writer's lock went with it.
    Collection.open(tmp_path / "live", mode="w").close()


def test_what_keeps_a_process_from_starting_is_told(tmp_path: Path, index_path: Path) -> None:
    ring, _ = KeyRing().with_new("page", "read")
    ring.save(tmp_path / "keys.json")
    done = subprocess.run(
        [*LSR, "serve", str(tmp_path / "none"), "--port", "0", "--workers", "2"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_route_that_needs_more_than_reading_is_the_writers() -> None:
    local = set()
    for route, role in NEEDED.items():
        method, path = route.split()
        if answered_by_workers(method, path.replace("{", "").replace("}", "")):
            assert role == "read", f"{route} must go to the writer"
            local.add(route)
    assert local == {
        "GET /metrics",
        "GET /v1/encoders",
        "GET /v1/indexes/{name}/documents/{doc_id}",
        "GET /v1/indexes/{name}/search",
        "POST /v1/indexes/{name}/explain",
        "POST /v1/indexes/{name}/search",
        "POST /v1/indexes/{name}/search/batch",
    }
    assert not answered_by_workers("DELETE", "/v1/something/new")
    assert answered_by_workers("GET", "/web/app.js")


@pytest.mark.anyio
async def test_metrics_of_many_processes_are_one_text(tmp_path: Path) -> None:
    place = Place("1", tmp_path, ("1", "2"))
    own = '# HELP a A.\n# TYPE a counter\na{x="y"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n'
    # The other process does not answer: it is left out.
    text = await merged(place, own, authorization="")
    assert text == (
        '# HELP a A.\n# TYPE a counter\na{process="1",x="y"} 1\n'
        '# HELP b B.\n# TYPE b gauge\nb{process="1"} 2\n'
    )
