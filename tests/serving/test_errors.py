"""Whatever goes wrong comes back in one shape, with the right status and a stable code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lsr.core import errors
from lsr.core.errors import LsrError
from serving.http_errors import STATUS_BY_ERROR, status_of

SEARCH = "/v1/indexes/toy/search"


def problem(response: Any, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "hint", "request_id"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    error: dict[str, str] = body["error"]
    return error


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_empty_query(client: TestClient, query: str) -> None:
    for response in (
        client.post(SEARCH, json={"query": query}),
        client.get(SEARCH, params={"q": query}),
        client.post(f"{SEARCH}/batch", json={"queries": ["fine", query]}),
        client.post("/v1/indexes/toy/explain", json={"query": query, "doc_id": "bowl"}),
        client.post("/v1/indexes/toy/encode", json={"text": query}),
    ):
        error = problem(response, 422)
        assert error["code"] == "query_invalid"
        assert error["message"] == "The query is empty."


def test_a_query_without_terms(client: TestClient) -> None:
    error = problem(client.post(SEARCH, json={"query": {}}), 422)
    assert error["message"] == "The query has no terms."


@pytest.mark.parametrize("k", [0, -1, 10**9, 10_001, 1.5, "10", True, None])
def test_depth_out_of_range(client: TestClient, k: Any) -> None:
    error = problem(client.post(SEARCH, json={"query": "york", "k": k}), 422)
    assert error["code"] == "request_invalid"
    assert error["message"].startswith("k: ")
    assert repr(k) in error["message"]


@pytest.mark.parametrize("k", ["0", "1000000000", "many"])
def test_depth_out_of_range_in_the_address(client: TestClient, k: str) -> None:
    error = problem(client.get(SEARCH, params={"q": "york", "k": k}), 422)
    assert error["message"].startswith("k: ")
    assert k in error["message"]


def test_all_problems_of_a_request_at_once(client: TestClient) -> None:
    error = problem(client.post(SEARCH, json={"query": "york", "k": 0, "qery": 1}), 422)
    assert "k: " in error["message"]
    assert "qery: " in error["message"]


def test_unknown_index_names_the_nearest(client: TestClient) -> None:
    error = problem(client.post("/v1/indexes/tox/search", json={"query": "york"}), 404)
    assert error["code"] == "index_not_found"
    assert "Did you mean 'toy'?" in error["message"]


def test_unknown_document(client: TestClient) -> None:
    for response in (
        client.get("/v1/indexes/toy/documents/BOWL"),
        client.post("/v1/indexes/toy/explain", json={"query": "york", "doc_id": "BOWL"}),
    ):
        error = problem(response, 404)
        assert error["code"] == "document_not_found"
        assert "'BOWL'" in error["message"]


def test_unknown_token_names_the_nearest(client: TestClient) -> None:
    for request in (
        {"query": {"netwerk": 1.0}},
        {"query": "york", "edit": {"add": {"netwerk": 1.0}}},
        {"query": "york", "edit": {"drop": ["netwerk"]}},
        {"query": "york", "edit": {"boost": {"netwerk": 2.0}}},
    ):
        error = problem(client.post(SEARCH, json=request), 422)
        assert error["code"] == "query_invalid"
        assert "'network'" in error["message"]


@pytest.mark.parametrize("weight", [0, -1, 1e9, "1", None])
def test_weights_out_of_range(client: TestClient, weight: Any) -> None:
    error = problem(client.post(SEARCH, json={"query": {"york": weight}}), 422)
    assert error["code"] == "request_invalid"


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "-Infinity"])
def test_weights_that_are_no_numbers(client: TestClient, weight: str) -> None:
    content = f'{{"query": {{"york": {weight}}}}}'
    problem(client.post(SEARCH, content=content, headers={"content-type": "application/json"}), 422)


def test_parameters_of_a_layout_without_any(client: TestClient) -> None:
    request = {"query": "york", "params": {"heap_factor": 0.9}}
    error = problem(client.post(SEARCH, json=request), 422)
    assert error["code"] == "argument_invalid"
    assert "'heap_factor'" in error["message"]


@pytest.mark.parametrize("content", ["{", '{"query": "york"', "query=york", "\udcff"])
def test_a_body_that_is_not_json(client: TestClient, content: str) -> None:
    response = client.post(
        SEARCH,
        content=content.encode("utf-8", "surrogateescape"),
        headers={"content-type": "application/json"},
    )
    error = problem(response, 400)
    assert error["code"] == "request_malformed"


def test_json_nested_too_deeply(client: TestClient) -> None:
    content = "[" * 100_000 + "]" * 100_000
    headers = {"content-type": "application/json"}
    problem(client.post(SEARCH, content=content, headers=headers), 400)


def test_a_body_of_another_type(client: TestClient) -> None:
    response = client.post(SEARCH, content="york", headers={"content-type": "text/plain"})
    assert problem(response, 422)["code"] == "request_invalid"


def test_unknown_route_and_method(client: TestClient) -> None:
    assert problem(client.get("/v2/search"), 404)["code"] == "route_not_found"
    response = client.delete(SEARCH)
    assert problem(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "GET, POST"


def _chunks(total: int) -> Iterator[bytes]:
    yield b'{"query": "'
    for _ in range(total // 65536):
        yield b"x" * 65536
    yield b'"}'


def test_a_body_of_50_mb(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    whole = client.post(SEARCH, content=b"".join(_chunks(50 << 20)), headers=headers)
    chunked = client.post(SEARCH, content=_chunks(50 << 20), headers=headers)
    for response in (whole, chunked):
        error = problem(response, 413)
        assert error["code"] == "body_too_large"
        assert "4,194,304 bytes" in error["message"]
    # And the service goes on.
    assert client.post(SEARCH, json={"query": "york"}).status_code == 200


def test_too_many_queries_in_a_batch(client: TestClient) -> None:
    queries = ["york"] * 1001
    error = problem(client.post(f"{SEARCH}/batch", json={"queries": queries}), 422)
    assert error["message"] == "queries: at most 1000 in one batch (got 1001)"


def test_a_host_that_is_not_answered(client: TestClient) -> None:
    response = client.get("/healthz", headers={"host": "evil.example:8000"})
    error = problem(response, 421)
    assert error["code"] == "host_not_allowed"
    assert "'evil.example'" in error["message"]


def test_what_nobody_expected_is_told_without_detail(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("serving.engine.Engine.search", fail)
    response = client.post(SEARCH, json={"query": "york"})
    error = problem(response, 500)
    assert error["code"] == "internal_error"
    assert "secret" not in response.text
    assert "ZeroDivisionError" in caplog.text
    assert error["request_id"] in caplog.text


def _leaves(cls: type[LsrError]) -> Iterator[type[LsrError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _leaves(sub)


def test_every_error_has_a_status() -> None:
    for cls in _leaves(LsrError):
        assert any(issubclass(cls, known) for known, _ in STATUS_BY_ERROR)
    assert all(400 <= status <= 599 for _, status in STATUS_BY_ERROR)
    assert status_of(errors.ArtifactCorruptedError("x")) == 500
    assert status_of(errors.OverloadedError("x")) == 503
