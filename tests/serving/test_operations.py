"""Health, metrics, access log, request ids, keys, hosts: what whoever runs the service sees."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lsr.core.errors import ConfigError
from serving.app import create_app
from serving.keys import ROLES, KeyRing
from serving.metrics import Counter, Gauge, Histogram
from serving.routes.health import OPEN_PATHS
from serving.settings import IndexSource, ServeSettings

SEARCH = "/v1/indexes/toy/search"


def test_alive_and_ready(index_path: Path, settings: ServeSettings, client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").status_code == 200
    # Without its lifespan an application is alive, not ready, and says so.
    cold = TestClient(create_app(settings, [IndexSource("toy", index_path)]))
    assert cold.get("/healthz").status_code == 200
    for response in (
        cold.get("/readyz"),
        cold.post(SEARCH, json={"query": "super"}),
        cold.get("/v1/indexes"),
    ):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "not_ready"


def test_request_ids_are_taken_or_made(client: TestClient) -> None:
    given = client.get("/healthz", headers={"x-request-id": "my-trace.7"})
    assert given.headers["x-request-id"] == "my-trace.7"
    forged = client.get("/healthz", headers={"x-request-id": 'x" onload="'})
    assert re.fullmatch("[0-9a-f]{16}", forged.headers["x-request-id"])
    body = client.post(SEARCH, json={"query": "super"}, headers={"x-request-id": "abc"}).json()
    assert body["request_id"] == "abc"


def test_access_log_tells_all_but_the_query(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="serving.access")
    client.post(SEARCH, json={"query": "super secret", "k": 3})
    client.get(SEARCH, params={"q": "super secret"})
    client.get("/nowhere/secret")
    lines = [json.loads(r.message) for r in caplog.records if r.name == "serving.access"]
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert lines[0]["route"] == "/v1/indexes/{name}/search"
    assert lines[0]["index"] == "toy"
    assert lines[0]["k"] == 3
    assert set(lines[0]["took_ms"]) == {"encode", "search", "fetch"}
    assert lines[2]["error"] == "route_not_found"
    assert "secret" not in caplog.text


def test_access_log_with_queries(index_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = ServeSettings(threads=1, log_queries=True, allowed_hosts=("*",))
    caplog.set_level(logging.INFO, logger="serving.access")
    with TestClient(create_app(settings, [IndexSource("toy", index_path)])) as client:
        client.post(SEARCH, json={"query": "super bowl"})
    lines = [json.loads(r.message) for r in caplog.records if r.name == "serving.access"]
    assert lines[0]["query"] == "super bowl"


def test_metrics_count_requests_stages_and_errors(fresh_client: TestClient) -> None:
    for _ in range(3):
        fresh_client.post(SEARCH, json={"query": "super"})
    fresh_client.post(SEARCH, json={"query": ""})
    response = fresh_client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(
        line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#")
    )
    route = 'route="/v1/indexes/{name}/search"'
    assert samples[f'lsr_http_requests_total{{{route},method="POST",status="200"}}'] == "3"
    assert samples[f'lsr_http_requests_total{{{route},method="POST",status="422"}}'] == "1"
    assert samples[f"lsr_http_request_seconds_count{{{route}}}"] == "4"
    assert samples['lsr_search_stage_seconds_count{index="toy",stage="search"}'] == "3"
    assert samples['lsr_errors_total{code="query_invalid"}'] == "1"
    assert samples['lsr_index_documents{index="toy"}'] == "5"
    assert samples["lsr_requests_in_flight"] == "0"


def test_metrics_format() -> None:
    counter = Counter("c", "Things.", ("name",))
    counter.add('a"\\\n', amount=2)
    assert list(counter.render()) == [
        "# HELP c Things.",
        "# TYPE c counter",
        'c{name="a\\"\\\\\\n"} 2',
    ]
    histogram = Histogram("h", "Times.", (), (1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert list(histogram.render())[2:] == [
        'h_bucket{le="1"} 2',
        'h_bucket{le="2"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 12",
        "h_count 4",
    ]
    gauge = Gauge("g", "Now.", ("x",), lambda: [(("1",), 7.5)])
    assert list(gauge.render())[2:] == ['g{x="1"} 7.5']


@pytest.fixture
def ring() -> tuple[KeyRing, dict[str, str]]:
    made, tokens = KeyRing(), {}
    for role in ROLES:
        made, tokens[role] = made.with_new(f"{role}er", role)
    return made, tokens


def test_nothing_without_a_key(
    index_path: Path, tmp_path: Path, ring: tuple[KeyRing, dict[str, str]]
) -> None:
    keys, tokens = ring
    keys.save(tmp_path / "keys.json")
    settings = ServeSettings(threads=1, keys_file=tmp_path / "keys.json", host="0.0.0.0")
    app = create_app(settings, [IndexSource("toy", index_path)])
    bodies = {
        "search": {"query": "super"},
        "batch": {"queries": ["super"]},
        "explain": {"query": "super", "doc_id": "bowl"},
        "encode": {"text": "super"},
        "documents": {"documents": [{"doc_id": "a"}]},
        "delete": {"doc_ids": ["a"]},
    }
    with TestClient(app) as client:
        described = client.get("/openapi.json").json()["paths"]
        tried = 0
        for path, methods in described.items():
            for method, operation in methods.items():
                target = path.replace("{name}", "toy").replace("{doc_id}", "bowl")
                target = target.replace("{task_id}", "x").replace("{snapshot}", "x")
                body = bodies.get(path.rsplit("/", 1)[1]) if method == "post" else None
                if path in OPEN_PATHS:
                    assert client.request(method, target).status_code == 200
                    continue
                tried += 1
                assert operation["security"] == [{"apiKey": []}]
                for headers in (
                    {},
                    {"authorization": "Bearer lsr_wrong"},
                    {"authorization": f"Basic {tokens['admin']}"},
                    {"authorization": "Bearer"},
                ):
                    response = client.request(
                        method, target, json=body, headers=headers, params={"q": "super"}
                    )
                    assert response.status_code == 401, (method, path)
                    assert response.headers["www-authenticate"] == "Bearer"
                    assert response.json()["error"]["code"] == "key_missing"
                headers = {"authorization": f"Bearer {tokens['admin']}"}
                response = client.request(
                    method, target, json=body, headers=headers, params={"q": "super"}
                )
                assert response.status_code in (200, 404, 422), (method, path, response.text)
        assert tried >= 13
        assert client.get("/").status_code == 200


NEEDED = {
    "GET /metrics": "read",
    "GET /v1/encoders": "read",
    "GET /v1/indexes": "read",
    "POST /v1/indexes": "admin",
    "GET /v1/indexes/{name}": "read",
    "DELETE /v1/indexes/{name}": "admin",
    "GET /v1/indexes/{name}/documents/{doc_id}": "read",
    "DELETE /v1/indexes/{name}/documents/{doc_id}": "write",
    "POST /v1/indexes/{name}/documents": "write",
    "POST /v1/indexes/{name}/documents/delete": "write",
    "POST /v1/indexes/{name}/documents/import": "write",
    "POST /v1/indexes/{name}/encode": "read",
    "POST /v1/indexes/{name}/explain": "read",
    "POST /v1/indexes/{name}/merge": "admin",
    "GET /v1/indexes/{name}/search": "read",
    "POST /v1/indexes/{name}/search": "read",
    "POST /v1/indexes/{name}/search/batch": "read",
    "GET /v1/indexes/{name}/snapshots": "admin",
    "POST /v1/indexes/{name}/snapshots": "admin",
    "DELETE /v1/indexes/{name}/snapshots/{snapshot}": "admin",
    "POST /v1/indexes/{name}/snapshots/{snapshot}/restore": "admin",
    "GET /v1/indexes/{name}/stats": "read",
    "POST /v1/indexes/{name}/tune": "admin",
    "GET /v1/tasks": "write",
    "GET /v1/tasks/{task_id}": "write",
    "POST /v1/tasks/{task_id}/cancel": "write",
}


def test_each_route_needs_its_role(
    index_path: Path, tmp_path: Path, ring: tuple[KeyRing, dict[str, str]]
) -> None:
    keys, tokens = ring
    keys.save(tmp_path / "keys.json")
    settings = ServeSettings(
        threads=1, keys_file=tmp_path / "keys.json", data=tmp_path / "data", access_log=False
    )
    app = create_app(settings, [IndexSource("toy", index_path)])
    with TestClient(app, raise_server_exceptions=False) as client:
        described = {
            f"{method.upper()} {path}"
            for path, methods in client.get("/openapi.json").json()["paths"].items()
            for method in methods
            if path not in OPEN_PATHS
        }
        assert described == set(NEEDED)
        for route, role in NEEDED.items():
            method, path = route.split()
            for part in ("name", "doc_id", "task_id", "snapshot"):
                path = path.replace(f"{{{part}}}", "x")
            for given in ROLES:
                headers = {"authorization": f"Bearer {tokens[given]}"}
                status = client.request(method, path, json={}, headers=headers).status_code
                assert status != 401, route
                assert (status == 403) == (ROLES.index(given) < ROLES.index(role)), (route, given)
        # A task that is no import is an administrator's, not every writer's.
        task = app.state.service.tasks.add("merge", "toy", interruptible=True)
        for given, status in (("write", 403), ("admin", 200)):
            headers = {"authorization": f"Bearer {tokens[given]}"}
            answer = client.post(f"/v1/tasks/{task.id}/cancel", headers=headers)
            assert answer.status_code == status


def test_keys_that_change_while_the_service_runs(
    index_path: Path,
    tmp_path: Path,
    ring: tuple[KeyRing, dict[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys, tokens = ring
    file = tmp_path / "keys.json"
    keys.save(file)
    settings = ServeSettings(threads=1, keys_file=file, access_log=False)

    def status(token: str) -> int:
        answer = client.get("/v1/indexes", headers={"authorization": f"Bearer {token}"})
        return answer.status_code

    with TestClient(create_app(settings, [IndexSource("toy", index_path)])) as client:
        assert status(tokens["read"]) == 200
        more, token = keys.without("reader").with_new("other", "read")
        more.save(file)
        assert (status(tokens["read"]), status(token)) == (401, 200)
        # What is no file of keys changes nothing, and opens nothing.
        file.write_text("{")
        assert (status(token), status("")) == (200, 401)
        assert "stay as they were" in caplog.text
        file.unlink()
        assert (status(token), status("x")) == (200, 401)
        KeyRing().save(file)
        assert status(token) == 401


def test_roles_reach_downwards(ring: tuple[KeyRing, dict[str, str]]) -> None:
    keys, tokens = ring
    for at, have in enumerate(ROLES):
        for needed in ROLES[: at + 1]:
            assert keys.require(tokens[have], needed).role == have
        for needed in ROLES[at + 1 :]:
            with pytest.raises(Exception, match=f"has the role {have}, this needs {needed}"):
                keys.require(tokens[have], needed)


def test_keys_are_kept_as_hashes(tmp_path: Path, ring: tuple[KeyRing, dict[str, str]]) -> None:
    keys, tokens = ring
    file = tmp_path / "keys.json"
    keys.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not any(token in file.read_text() for token in tokens.values())
    assert KeyRing.load(file).require(tokens["admin"], "admin").name == "adminer"
    fewer = KeyRing.load(file).without("adminer")
    assert [key.name for key in fewer.keys] == ["reader", "writeer"]
    with pytest.raises(ConfigError, match="'adminer'"):
        fewer.without("adminer")
    with pytest.raises(ConfigError, match="already"):
        keys.with_new("reader", "read")


def test_files_that_hold_no_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No file of keys"):
        KeyRing.load(tmp_path / "absent.json")
    wrong = tmp_path / "wrong.json"
    wrong.write_text('["lsr_pasted_secret"]')
    with pytest.raises(ConfigError) as caught:
        KeyRing.load(wrong)
    assert "pasted" not in str(caught.value)
    KeyRing().save(wrong)
    with pytest.raises(ConfigError, match="holds no key"):
        create_app(ServeSettings(keys_file=wrong))


def test_pages_are_served_with_safe_headers(client: TestClient) -> None:
    for path in ("/", "/docs", "/web/app.js", "/web/style.css"):
        response = client.get(path)
        assert response.status_code == 200, path
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in response.headers["content-security-policy"]
    assert client.get("/web/../app.py").status_code == 404
    assert client.get("/web/%2e%2e/app.py").status_code == 404


def test_openapi_has_examples_and_errors_for_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (method, path)
            for status, answer in operation["responses"].items():
                if status >= "300":
                    content = answer["content"]["application/json"]
                    assert content["schema"]["$ref"].endswith("/ErrorBody"), (path, status)
                    assert content["example"]["error"]["code"]
            body = operation.get("requestBody")
            if body is not None and "application/x-ndjson" in body["content"]:
                assert body["content"]["application/x-ndjson"]["example"]
            elif body is not None:
                name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
                schema = schemas[name]
                needed = [schema["properties"][p] for p in schema.get("required", [])]
                shown = [bool(p.get("examples")) for p in needed]
                assert "examples" in schema or (shown and all(shown)), name
    assert "HTTPValidationError" not in schemas
