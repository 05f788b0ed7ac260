"""What the OpenAPI document says, tried with generated requests: no 5xx, nothing undocumented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from indexing.collection import Collection
from lsr.encoders.lexical import LexicalEncoder
from serving.app import create_app
from serving.settings import IndexSource, ServeSettings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = [
    # Schemathesis makes a test client a request and leaves its streams to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@schemathesis.serializer("application/x-ndjson")
def _json_lines(context: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def api(index_path: Path, encoder: LexicalEncoder, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("openapi")
    encoder.save_query_side(root / "side")
    names = {"encoder": encoder.name, "idf": encoder.idf, "query_encoder": root / "side"}
    Collection.create(root / "live", encoder.vocabulary, dense=3, **names).close()
    encoder.save(root / "words")
    made = ServeSettings(
        threads=1,
        access_log=False,
        allowed_hosts=("*",),
        data=root / "data",
        encoders=(f"words={root / 'words'}",),
    )
    app = create_app(made, [IndexSource("toy", index_path), IndexSource("live", root / "live")])
    return schemathesis.openapi.from_asgi("/openapi.json", app)  # runs the app's lifespan


ROUTES = [
    (method, path)
    for path, operations in create_app(ServeSettings()).openapi()["paths"].items()
    for method in operations
]


def _try(api: Any, method: str, path: str, max_examples: int) -> None:
    @given(case=api[path][method].as_strategy())
    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answers_as_documented(case: Any) -> None:
        if len(case.path_parameters.get("name", "")) % 3:
            # Else every request would stop at an index that is not there.
            writes = any(part in path for part in ("/documents", "/merge", "/snapshots"))
            live = writes or len(case.path_parameters["name"]) % 2
            case.path_parameters["name"] = "live" if live else "toy"
        # A token outside the vocabulary is refused, and no schema can say which those are.
        answer = case.call_and_validate(excluded_checks=[positive_data_acceptance])
        assert answer.status_code < 500, answer.text

    answers_as_documented()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_answers_are_as_documented(api: Any, method: str, path: str) -> None:
    _try(api, method, path, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_answers_are_as_documented_many_times(api: Any, method: str, path: str) -> None:
    _try(api, method, path, 300)
