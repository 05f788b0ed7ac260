from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from lsr.core.errors import (
    ArtifactCorruptedError,
    ConfigError,
    DocumentNotFoundError,
    PortInUseError,
    QueryError,
    ServiceError,
)
from lsr.core.settings import get_settings
from serving import commands, server

run = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    commands.register(made)
    return made


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_search_shows_ranks_passages_and_bars(app: typer.Typer, index_path: Path) -> None:
    result = run.invoke(app, ["search", str(index_path), "super bowl", "-k", "1", "--explain"])
    assert result.exit_code == 0, result.output
    assert "Super Bowl 50" in result.stdout
    assert "━" in result.stdout
    assert re.search(r"search \d", result.stdout)


def test_search_as_json(app: typer.Typer, index_path: Path) -> None:
    arguments = ["search", str(index_path), "super bowl", "-k", "2", "--json", "--explain", "-q"]
    body = json.loads(run.invoke(app, arguments).stdout)
    assert [hit["doc_id"] for hit in body["hits"]] == ["bowl", "emoji"]
    first = body["hits"][0]
    assert sum(t["contribution"] for t in first["explanation"]) == pytest.approx(first["score"])


def test_search_without_a_result(app: typer.Typer, index_path: Path) -> None:
    result = run.invoke(app, ["search", str(index_path), "zebra"])
    assert "Nothing was found" in result.stdout


def test_explain_sums_to_the_score(app: typer.Typer, index_path: Path) -> None:
    arguments = ["explain", str(index_path), "super york", "tesla"]
    shown = run.invoke(app, arguments).stdout
    assert "york" in shown and "The document lacks: super" in shown
    body = json.loads(run.invoke(app, [*arguments, "--json"]).stdout)
    assert sum(t["contribution"] for t in body["terms"]) == pytest.approx(body["score"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["search", "INDEX", "  "], QueryError),
        (["search", "INDEX", "super", "--param", "query_cut=3"], Exception),
        (["explain", "INDEX", "super", "nobody"], DocumentNotFoundError),
        (["serve", "INDEX", "--host", "0.0.0.0"], ConfigError),
        (["serve", "INDEX", "--port", "99999"], ConfigError),
        (["serve", "INDEX", "--keys-file", "absent.json", "--port", "0"], ConfigError),
        (["serve", "INDEX", "--host", "no.such.host.invalid", "--allow-remote"], ServiceError),
    ],
)
def test_wrong_use(
    app: typer.Typer, index_path: Path, arguments: list[str], error: type[Exception]
) -> None:
    result = run.invoke(app, [str(index_path) if a == "INDEX" else a for a in arguments])
    assert isinstance(result.exception, error)


def test_port_in_use(app: typer.Typer, index_path: Path, taken_port: int) -> None:
    for arguments in (["serve", str(index_path)], ["demo"]):
        result = run.invoke(app, [*arguments, "--port", str(taken_port)])
        assert isinstance(result.exception, PortInUseError)
        assert str(taken_port) in result.exception.message
        assert f"--port {taken_port + 1}" in result.exception.hint


def test_a_corrupted_index_keeps_the_service_from_starting(
    app: typer.Typer, index_path: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(index_path, tmp_path / "index"))
    (copied / "vocabulary.json").write_text("[]")
    result = run.invoke(app, ["serve", str(copied), "--port", "0"])
    assert isinstance(result.exception, ArtifactCorruptedError)
    assert "vocabulary.json" in result.exception.message


def test_keys_are_made_listed_and_removed(app: typer.Typer, tmp_path: Path) -> None:
    file = ["--file", str(tmp_path / "keys.json")]
    made = json.loads(run.invoke(app, ["keys", "add", "page", *file, "--json"]).stdout)
    assert made["role"] == "read" and made["key"].startswith("lsr_")
    assert isinstance(
        run.invoke(app, ["keys", "add", "x", "--role", "king", *file]).exception, ConfigError
    )
    listed = json.loads(run.invoke(app, ["keys", "list", *file, "--json"]).stdout)["keys"]
    assert [(key["name"], key["role"]) for key in listed] == [("page", "read")]
    assert made["key"] not in (tmp_path / "keys.json").read_text()
    assert run.invoke(app, ["keys", "remove", "page", *file]).exit_code == 0
    assert json.loads(run.invoke(app, ["keys", "list", *file, "--json"]).stdout)["keys"] == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LSR_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_demo_builds_once_and_searches(app: typer.Typer, home: Path) -> None:
    # The shipped encoder takes a minute for the corpus; .ci/run has that as a step of its own.
    demo = ["demo", "--no-serve", "--encoder", "lexical", "--json", "-q"]
    first = json.loads(run.invoke(app, demo).stdout)
    assert not first["reused"]
    assert Path(first["index"]).is_relative_to(home)
    assert first["n_documents"] == 2067
    assert first["seconds"] < 30
    best = [search["hits"][0] for search in first["searches"]]
    assert len(best) == 3
    titles = [hit["document"]["title"] for hit in best]
    assert titles == ["Super Bowl 50", "Chloroplast", "1973 oil crisis"]
    for hit in best:
        total = sum(term["contribution"] for term in hit["explanation"])
        assert total == pytest.approx(hit["score"], rel=1e-5)
    again = json.loads(run.invoke(app, demo).stdout)
    assert again["reused"]
    assert [s["hits"] for s in again["searches"]] == [s["hits"] for s in first["searches"]]
    # A damaged index is built again rather than served.
    (Path(first["index"]) / "vocabulary.json").write_text("[")
    healed = json.loads(run.invoke(app, demo).stdout)
    assert not healed["reused"]


def test_bind_takes_a_free_port() -> None:
    with server.bind("127.0.0.1", 0) as bound:
        url = server.url_of(bound)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)


@contextmanager
def served(index_path: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Yield a serving process, and what it says when it is ready."""
    code = (
        "import typer; from serving import commands; app = typer.Typer(); "
        "commands.register(app); app()"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LSR_SERVE_")}
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(index_path), "--name", "toy", "--port", "0",
         "--json", "--quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | settings,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            lines = []
            while not lines or lines[-1].strip() != "}":
                lines.append(process.stdout.readline())
            yield process, json.loads("".join(lines))
        finally:
            process.kill()


def test_serve_answers_and_stops_at_a_signal(index_path: Path) -> None:
    """The whole of it: a process, a socket, a search, a stop signal while a request runs."""
    with served(index_path) as (process, ready):
        assert process.stderr is not None
        assert ready["indexes"] == ["toy"]
        with httpx.Client(base_url=ready["url"]) as client:
            body = client.post("/v1/indexes/toy/search", json={"query": "super"}).json()
            assert body["hits"][0]["doc_id"] in ("bowl", "emoji")
            response = client.post(
                "/v1/indexes/toy/search", content=(b"x" * 65536 for _ in range(800))
            )
            assert response.status_code == 413
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert time.monotonic() - started < 8
        log = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert [line["status"] for line in log] == [200, 413]


def test_a_request_that_outlasts_the_stop_is_told_so(index_path: Path) -> None:
    with served(index_path, LSR_SERVE_SHUTDOWN_S="1") as (process, ready):
        host, port = ready["url"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            slow.sendall(
                f"POST /v1/indexes/toy/search HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99\r\n"
                "Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n{".encode()
            )
            # Sent when the service waits for the rest of the body.
            assert slow.recv(65536).startswith(b"HTTP/1.1 100 ")
            process.send_signal(signal.SIGTERM)
            answer = b""
            while part := slow.recv(65536):
                answer += part
        process.wait(10)
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["error"]["code"] == "not_ready"
