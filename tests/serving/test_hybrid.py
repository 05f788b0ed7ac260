"""Hybrid search over HTTP: both halves, fused, explained; and pages, fields, filters that go with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from indexing import dense_folder
from indexing.dense_folder import add_dense
from indexing.storage import IndexFolder
from lsr.core.errors import MissingDependencyError
from lsr.encoders.lexical import LexicalEncoder
from serving import commands
from serving.app import create_app
from serving.engine import Engine
from serving.hybrid import Hybrid
from serving.settings import IndexSource, ServeSettings
from tests.helpers.dense import LetterEncoder
from tests.serving.conftest import DOCUMENTS

pytest.importorskip("faiss")

SEARCH = "/v1/indexes/both/search"
QUERY = "super bowl in new york"


@pytest.fixture(scope="module")
def both_path(index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(index_path, tmp_path_factory.mktemp("hybrid") / "index"))
    with IndexFolder.open(path) as folder:
        add_dense(folder, LetterEncoder(path))
    return path


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_folder, "DenseEncoder", LetterEncoder)


@pytest.fixture
def api(both_path: Path, index_path: Path) -> Iterator[TestClient]:
    settings = ServeSettings(threads=1, allowed_hosts=("testserver",), access_log=False)
    sources = [IndexSource("both", both_path), IndexSource("toy", index_path)]
    with TestClient(create_app(settings, sources), raise_server_exceptions=False) as made:
        yield made


def halves(encoder: LexicalEncoder, query: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the scores of both halves by brute force."""
    texts = [document.content for document in DOCUMENTS]
    ids = [document.doc_id for document in DOCUMENTS]
    letters = LetterEncoder(Path())
    dense = letters.encode(texts) @ letters.encode([query])[0]
    vector = encoder.encode_queries([query]).row(0)
    matrix = encoder.encode_documents(texts)
    sparse = [vector.dot(matrix.row(at)) for at in range(len(texts))]
    found = {d: s for d, s in zip(ids, sparse, strict=True) if s > 0}
    return found, dict(zip(ids, dense.tolist(), strict=True))


def ranks(scores: dict[str, float]) -> dict[str, int]:
    best = sorted(scores, key=lambda d: -scores[d])
    return {doc_id: at + 1 for at, doc_id in enumerate(best)}


def test_reciprocal_ranks_of_both_halves(api: TestClient, encoder: LexicalEncoder) -> None:
    assert api.get("/v1/indexes/both").json()["dense"] == "letters"
    assert api.get("/v1/indexes/toy").json()["dense"] is None
    sparse, dense = map(ranks, halves(encoder, QUERY))
    expected = {
        d: (1 / (60 + sparse[d]) if d in sparse else 0) + 2 / (60 + dense[d]) for d in dense
    }
    body = {"query": QUERY, "hybrid": {"weights": {"dense": 2.0}}, "explain": True}
    answer = api.post(SEARCH, json=body).json()
    assert {hit["doc_id"]: hit["score"] for hit in answer["hits"]} == pytest.approx(expected)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3, 4, 5]
    of_sparse, of_dense = halves(encoder, QUERY)
    for hit in answer["hits"]:
        parts = hit["parts"]
        assert parts["sparse"]["share"] + parts["dense"]["share"] == pytest.approx(hit["score"])
        assert parts["sparse"]["rank"] == sparse.get(hit["doc_id"])
        assert parts["dense"]["score"] == pytest.approx(of_dense[hit["doc_id"]], abs=1e-5)
        # The table is the sparse half's.
        total = sum(term["contribution"] for term in hit["explanation"])
        assert total == pytest.approx(of_sparse.get(hit["doc_id"], 0.0), rel=1e-5)


def test_convex_combination_of_both_halves(api: TestClient, encoder: LexicalEncoder) -> None:
    def scaled(scores: dict[str, float]) -> dict[str, float]:
        low, high = min(scores.values()), max(scores.values())
        return {doc_id: (score - low) / (high - low) for doc_id, score in scores.items()}

    sparse, dense = map(scaled, halves(encoder, QUERY))
    expected = {d: 0.75 * sparse.get(d, 0.0) + 0.25 * dense[d] for d in dense}
    hybrid = {"fusion": "convex", "weights": {"sparse": 3.0, "dense": 1.0}}
    answer = api.post(SEARCH, json={"query": QUERY, "hybrid": hybrid}).json()
    found = {hit["doc_id"]: hit["score"] for hit in answer["hits"]}
    assert found == pytest.approx(expected, abs=1e-5)
    # One half alone ranks as that half.
    alone = {"fusion": "convex", "weights": {"sparse": 0.0, "dense": 1.0}}
    answer = api.post(SEARCH, json={"query": QUERY, "hybrid": alone}).json()
    assert [h["doc_id"] for h in answer["hits"]] == sorted(dense, key=lambda d: (-dense[d], d))


def test_a_batch_is_what_its_queries_are(api: TestClient) -> None:
    queries = [QUERY, "normandy", "zebra"]
    more = {"k": 2, "offset": 1, "hybrid": {"depth": 3}, "fields": ["title"]}
    batch = api.post(f"{SEARCH}/batch", json={"queries": queries, **more}).json()["results"]
    for query, result in zip(queries, batch, strict=True):
        one = api.post(SEARCH, json={"query": query, **more}).json()
        assert one["hits"] == result["hits"]
        assert len(one["hits"]) == 2
    # The dense half knows letters, so words that no document has find something too.
    assert all(hit["parts"]["sparse"]["rank"] is None for hit in batch[2]["hits"])


def test_one_document_explained_in_both_halves(api: TestClient, encoder: LexicalEncoder) -> None:
    sparse, dense = halves(encoder, QUERY)
    body = {"query": QUERY, "hybrid": {"depth": 2}, "k": 1}
    places = {}
    for document in DOCUMENTS:
        answer = api.post("/v1/indexes/both/explain", json={**body, "doc_id": document.doc_id})
        place = places[document.doc_id] = answer.json()["hybrid"]
        parts = place["parts"]
        assert parts["sparse"]["score"] == pytest.approx(sparse.get(document.doc_id, 0.0))
        assert parts["dense"]["score"] == pytest.approx(dense[document.doc_id], abs=1e-5)
        shares = parts["sparse"]["share"] + parts["dense"]["share"]
        assert shares == pytest.approx(place["score"])
    assert sorted(place["rank"] or 9 for place in places.values()) == [1, 9, 9, 9, 9]
    assert any(place["score"] == 0 for place in places.values())


@pytest.mark.parametrize(
    ("name", "body", "word"),
    [
        ("toy", {"query": QUERY, "hybrid": {}}, "no dense half"),
        ("both", {"query": {"super": 1.0}, "hybrid": {}}, "needs a text"),
        ("both", {"query": QUERY, "hybrid": {"weights": {"sparse": 0, "dense": 0}}}, "weights"),
        ("both", {"query": QUERY, "hybrid": {"fusion": "sum"}}, "hybrid.fusion"),
        ("both", {"query": QUERY, "hybrid": {"weights": {"sparse": -1}}}, "weights.sparse"),
        ("both", {"query": QUERY, "hybrid": {"depth": 0}}, "hybrid.depth"),
        ("both", {"query": QUERY, "hybrid": {}, "compare_exact": True}, "compare_exact"),
        ("both", {"query": QUERY, "hybrid": {}, "filter": {"exists": "x"}}, "'x'"),
        ("both", {"query": QUERY, "dense_vector": [1.0]}, "only a hybrid search"),
        ("both", {"query": QUERY, "hybrid": {}, "dense_vector": [1.0]}, "has 1 numbers"),
    ],
)
def test_what_cannot_be_searched(api: TestClient, name: str, body: Any, word: str) -> None:
    answer = api.post(f"/v1/indexes/{name}/search", json=body)
    assert answer.status_code == 422, answer.text
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("fusion", ["rrf", "convex"])
def test_a_filter_holds_in_both_halves(
    api: TestClient, encoder: LexicalEncoder, fusion: str
) -> None:
    wanted = {"not": {"exists": "year"}}
    passing = {document.doc_id for document in DOCUMENTS if not document.metadata}
    sparse, dense = (
        {d: score for d, score in half.items() if d in passing} for half in halves(encoder, QUERY)
    )
    body = {"query": QUERY, "hybrid": {"fusion": fusion, "depth": 3}, "filter": wanted, "k": 2}
    answer = api.post(SEARCH, json=body).json()
    best = [dict(sorted(half.items(), key=lambda x: -x[1])[:3]) for half in (sparse, dense)]
    expected: dict[str, float] = {}
    for half in best:
        low, high = min(half.values()), max(half.values())
        for at, (doc_id, score) in enumerate(half.items()):
            share = 1 / (61 + at) if fusion == "rrf" else (score - low) / (high - low) / 2
            expected[doc_id] = expected.get(doc_id, 0.0) + share
    found = {hit["doc_id"]: hit["score"] for hit in answer["hits"]}
    assert len(found) == 2
    top = dict(sorted(expected.items(), key=lambda x: -x[1])[:2])
    assert found == pytest.approx(top, abs=1e-6)
    ranks_of_dense = [hit["parts"]["dense"]["rank"] for hit in answer["hits"]]
    assert set(ranks_of_dense) <= {1, 2, 3, None}
    batch = api.post(f"{SEARCH}/batch", json={**_without_query(body), "queries": [QUERY] * 2})
    for result in batch.json()["results"]:
        assert {hit["doc_id"]: hit["score"] for hit in result["hits"]} == pytest.approx(found)
    told = {"query": QUERY, "doc_id": "bowl", "hybrid": {}, "filter": wanted}
    explained = api.post("/v1/indexes/both/explain", json=told).json()
    assert explained["reason"] == "filtered_out"
    assert explained["hybrid"]["rank"] is None and explained["hybrid"]["score"] == 0


def _without_query(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "query"}


def test_the_vector_of_the_query_may_be_given(api: TestClient) -> None:
    vector = LetterEncoder(Path()).encode([QUERY])[0].tolist()
    by_text = api.post(SEARCH, json={"query": QUERY, "hybrid": {}}).json()["hits"]
    given = {"query": QUERY, "hybrid": {}, "dense_vector": vector}
    assert api.post(SEARCH, json=given).json()["hits"] == by_text
    weights = {"query": {"super": 1.0}, "hybrid": {}, "dense_vector": vector}
    of_weights = api.post(SEARCH, json=weights).json()["hits"]
    of_dense = {hit["doc_id"]: hit["parts"]["dense"] for hit in by_text}
    assert {hit["doc_id"]: hit["parts"]["dense"] for hit in of_weights} == of_dense
    batch = {"queries": [QUERY, {"super": 1.0}], "hybrid": {}, "dense_vectors": [vector] * 2}
    results = api.post(f"{SEARCH}/batch", json=batch).json()["results"]
    ids = [[hit["doc_id"] for hit in result["hits"]] for result in results]
    assert ids == [[hit["doc_id"] for hit in hits] for hits in (by_text, of_weights)]
    short = {**batch, "dense_vectors": [vector]}
    assert api.post(f"{SEARCH}/batch", json=short).status_code == 422


def test_without_the_packages_the_sparse_half_goes_on(
    both_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> Any:
        raise MissingDependencyError("faiss", extra="hybrid", purpose="Dense retrieval")

    monkeypatch.setattr("indexing.dense.faiss_module", missing)
    engine = Engine.open(both_path)
    engine.warm_up()
    assert "No hybrid search" in caplog.text
    assert engine.search(QUERY).hits
    with pytest.raises(MissingDependencyError):
        engine.search(QUERY, hybrid=Hybrid())
    engine.close()


def test_on_the_command_line(both_path: Path) -> None:
    app = typer.Typer()
    commands.register(app)
    run = CliRunner()
    arguments = ["search", str(both_path), QUERY, "-k", "2"]
    shown = run.invoke(app, [*arguments, "--hybrid", "--fusion", "convex", "--offset", "1"])
    assert shown.exit_code == 0, shown.output
    assert " 2  " in shown.stdout and "dense #" in shown.stdout
    assert "dense #" not in run.invoke(app, arguments).stdout
    wrong = run.invoke(app, [*arguments, "--fusion", "sum"])
    assert wrong.exit_code == 2
    assert "'sum'" in wrong.output and "convex" in wrong.output


def test_pages_of_a_result(api: TestClient) -> None:
    whole = api.post(SEARCH, json={"query": "super york network", "k": 5}).json()["hits"]
    for hybrid in (None, {}):
        pages = []
        for offset in range(0, 6, 2):
            body = {"query": "super york network", "k": 2, "offset": offset, "hybrid": hybrid}
            pages += api.post(SEARCH, json=body).json()["hits"]
        if hybrid is None:
            assert pages == whole
        assert [hit["rank"] for hit in pages] == list(range(1, len(pages) + 1))
        assert len({hit["doc_id"] for hit in pages}) == len(pages)
    listed = api.get(SEARCH, params={"q": "super york network", "k": 2, "offset": 2}).json()["hits"]
    assert listed == whole[2:4]
    deep = api.post(SEARCH, json={"query": "super", "k": 500, "offset": 501})
    assert deep.status_code == 422
    assert deep.json()["error"]["message"] == "offset + k: at most 1000 (got 501 + 500)"
    batch = api.post(f"{SEARCH}/batch", json={"queries": ["super"], "k": 1001})
    assert batch.status_code == 422
    assert api.post(SEARCH, json={"query": "super", "k": 1000}).status_code == 200
    np.testing.assert_equal(
        len(api.post(SEARCH, json={"query": "super", "offset": 999, "k": 1}).json()["hits"]), 0
    )
