"""The typed client against the real application, without a network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from indexing import tuning
from lsr.core import errors
from lsr.core.records import Document
from lsr.encoders.lexical import LexicalEncoder
from serving.app import create_app
from serving.client import Client
from serving.settings import IndexSource, ServeSettings
from tests.serving.conftest import DOCUMENTS


class ThroughTestClient(httpx.BaseTransport):
    """Sends httpx requests into the application that a TestClient runs."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        headers = {k: v for k, v in request.headers.items() if k != "host"}
        with self.lock:
            answer = self.client.request(
                request.method, path, content=request.read(), headers=headers
            )
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def api(client: TestClient) -> Iterator[Client]:
    with Client("http://testserver", transport=ThroughTestClient(client)) as made:
        yield made


def test_every_method(api: Client) -> None:
    answer = api.search("toy", "super bowl", k=2, explain=True, highlight=True, compare_exact=True)
    assert [hit.doc_id for hit in answer.hits] == ["bowl", "emoji"]
    explanation = answer.hits[0].explanation or []
    assert sum(t.contribution for t in explanation) == pytest.approx(answer.hits[0].score)
    assert answer.exact is not None and answer.exact.overlap == 1
    edited = api.search("toy", {"super": 1.0}, edit={"add": {"edison": 9.0}}, fields=[])
    assert edited.hits[0].doc_id == "edison" and edited.hits[0].document is None
    batch = api.search_batch("toy", ["super bowl", {"york": 1.0}], k=1)
    assert [result.hits[0].doc_id for result in batch.results] == ["bowl", "edison"]
    why = api.explain("toy", "super", "tesla")
    assert why.score == 0 and why.reason != "found"
    assert [term.token for term in api.encode("toy", "networks").terms] == ["network"]
    for document in DOCUMENTS:
        body = api.document("toy", document.doc_id)
        assert (body.title, body.text) == (document.title, document.text)
        assert body.metadata == document.metadata
    assert [info.name for info in api.indexes()] == ["pruned", "toy"]
    assert api.index("toy").n_documents == 5


def test_errors_come_back_as_their_classes(api: Client) -> None:
    with pytest.raises(errors.IndexNotFoundError, match="Did you mean 'toy'"):
        api.search("tox", "super")
    with pytest.raises(errors.IndexNotFoundError):
        api.index("a b?c")
    with pytest.raises(errors.QueryError, match="empty"):
        api.search("toy", " ")
    with pytest.raises(errors.RequestError, match="k: "):
        api.search("toy", "super", k=0)
    with pytest.raises(errors.ConfigError):
        api.search("pruned", "super", params={"nothing": 1})
    with pytest.raises(errors.DocumentNotFoundError):
        api.document("toy", "no such/document?x=1#y")


def _answering(*answers: httpx.Response) -> tuple[httpx.MockTransport, list[Any]]:
    requests: list[Any] = []
    waiting = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return next(waiting)

    return httpx.MockTransport(answer), requests


def test_overload_is_tried_again() -> None:
    busy = {"error": {"code": "overloaded", "message": "Full.", "hint": "", "request_id": "x"}}
    refused = httpx.Response(503, json=busy, headers={"retry-after": "0"})
    transport, requests = _answering(refused, refused, httpx.Response(200, json={"indexes": []}))
    with Client("http://x", transport=transport, key="lsr_secret") as client:
        assert client.indexes() == []
    assert len(requests) == 3
    assert requests[0].headers["authorization"] == "Bearer lsr_secret"
    transport, requests = _answering(refused, refused)
    client = Client("http://x", transport=transport, retries=1)
    with client, pytest.raises(errors.OverloadedError, match="Full"):
        client.indexes()


def test_answers_of_something_else() -> None:
    for answer in (
        httpx.Response(502, text="<html>"),
        httpx.Response(404, content=json.dumps([1]).encode()),
    ):
        transport, _ = _answering(answer)
        expected = f"answered {answer.status_code}"
        client = Client("http://x", transport=transport)
        with client, pytest.raises(errors.ServiceError, match=expected):
            client.indexes()


def test_nobody_listens() -> None:
    client = Client("http://127.0.0.1:9", timeout_s=2)
    with client, pytest.raises(errors.ServiceError, match="does not answer"):
        client.indexes()


@pytest.fixture
def admin(tmp_path: Path, encoder: LexicalEncoder, pruned_path: Path) -> Iterator[Client]:
    encoder.save(tmp_path / "words")
    settings = ServeSettings(
        threads=2,
        allowed_hosts=("testserver",),
        data=tmp_path / "data",
        encoders=(str(tmp_path / "words"),),
        access_log=False,
    )
    app = create_app(settings, [IndexSource("pruned", pruned_path)])
    with (
        TestClient(app, raise_server_exceptions=False) as client,
        Client("http://testserver", transport=ThroughTestClient(client)) as made,
    ):
        yield made


def test_every_administrative_method(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tuning.GRIDS, "seismic", {"query_cut": (4,), "heap_factor": (1.0,)})
    assert "words" in admin.encoders()
    config = {"index": {"layout": {"kind": "seismic"}}}
    made = admin.create("news", encoder="words", fields={"day": "date"}, config=config)
    assert made.updatable and made.fields == {"day": "date"}
    assert admin.upsert("news", DOCUMENTS[:2]).n_added == 2
    assert admin.import_documents("news", DOCUMENTS[2:4]).n_added == 2
    task = admin.wait(admin.import_in_background("news", DOCUMENTS[4:]), every_s=0.01)
    assert task.state == "succeeded" and task.result["n_added"] == 1
    assert admin.task(task.id) == task and admin.tasks("news") == [task]
    assert admin.search("news", "super york", k=2, offset=1, fields=["metadata.year"]).hits
    why = admin.explain("news", "super york", "tesla", filter={"exists": "year"})
    assert why.reason == "filtered_out"
    assert admin.wait(admin.merge("news"), every_s=0.01).result["n_documents"] == 5
    tuned = admin.wait(admin.tune("news", ["super bowl"] * 20, recall=0.5), every_s=0.01)
    stats = admin.stats("news")
    assert stats.tuning is not None and stats.tuning.model_dump() == tuned.result
    assert stats.collection is not None and stats.collection.pending_documents == 0
    admin.wait(admin.snapshot("news", "first"), every_s=0.01)
    assert [s.name for s in admin.snapshots("news")] == ["first"]
    admin.wait(admin.restore("news", "first", "again"), every_s=0.01)
    assert admin.search("again", "super bowl").hits[0].doc_id == "bowl"
    admin.delete_snapshot("news", "first")
    assert admin.snapshots("news") == []
    admin.drop("news")
    assert [info.name for info in admin.indexes()] == ["again", "pruned"]
    admin.create("raw", vocabulary=["super", "bowl"])
    one = Document("one", "")
    assert admin.upsert("raw", [one], [{"bowl": 2.0}]).n_added == 1
    assert admin.import_documents("raw", [one], [{"bowl": 1.0}]).n_replaced == 1
    assert admin.search("raw", {"bowl": 3.0}).hits[0].score == pytest.approx(3.0)


def test_administrative_errors_are_classes_too(admin: Client) -> None:
    admin.create("raw", vocabulary=3)
    with pytest.raises(errors.IndexExistsError):
        admin.create("raw", vocabulary=3)
    with pytest.raises(errors.SnapshotNotFoundError):
        admin.delete_snapshot("raw", "nothing")
    with pytest.raises(errors.TaskNotFoundError):
        admin.cancel("nothing at all")
    # A task that failed raises what it failed with.
    with pytest.raises(errors.CheckFailedError, match="No setting reaches"):
        admin.wait(admin.tune("pruned", ["super bowl york network"] * 20), every_s=0.01)
    ended = admin.tasks("pruned")[0]
    with pytest.raises(errors.TaskNotCancellableError):
        admin.cancel(ended.id)
    cancelled = ended.model_copy(update={"state": "cancelled", "error": None})
    with pytest.raises(errors.ServiceError, match="was cancelled"):
        admin.wait(cancelled)
    with pytest.raises(errors.ServiceError, match="has not ended"):
        admin.wait(ended.model_copy(update={"state": "queued"}), timeout_s=-1)
