"""The typed client against the real application, without a network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from lsr.core import errors
from serving.client import Client
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
