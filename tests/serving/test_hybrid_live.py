"""Hybrid search of live collections over HTTP: always the dict and brute force, whatever is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from indexing import commands as index_commands
from indexing.collection import Collection
from lsr.core.errors import ArgumentError, DataError
from lsr.core.records import Document
from lsr.encoders.encode import encode_collection
from lsr.encoders.lexical import LexicalEncoder
from serving import collection_source, commands, encoding
from serving.client import Client
from tests.helpers.dense import LetterEncoder
from tests.serving.conftest import DOCUMENTS

# A fixture that both files use.
from tests.serving.test_collections_api import encoder_path as encoder_path  # noqa: PLC0414
from tests.serving.test_collections_api import ended, make, problem, service

pytest.importorskip("faiss")

QUERY = "super bowl in new york"
WORDS = ("super", "bowl", "network", "york", "edison", "tesla", "normandy", "france")
LETTERS = LetterEncoder(Path())
NEWS = "/v1/indexes/news"
RAW = "/v1/indexes/raw"


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a model that needs no torch stand in for a bi-encoder, and a thread for its process."""
    monkeypatch.setattr(encoding, "DenseEncoder", LetterEncoder)
    monkeypatch.setattr(collection_source, "DenseEncoder", LetterEncoder)
    monkeypatch.setattr("indexing.dense_encoder.DenseEncoder", LetterEncoder)
    monkeypatch.setattr(encoding, "ProcessPoolExecutor", lambda n, **_: ThreadPoolExecutor(n))
    monkeypatch.setattr(encoding, "_DENSE", {})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def api(data: Path, encoder_path: Path) -> Iterator[TestClient]:
    with service(data, encoder_path, dense_encoders=("letters=models/letters",)) as made:
        yield made


class Twin:
    """What the collection should be, and brute force over it."""

    def __init__(self, encoder: LexicalEncoder) -> None:
        self._encoder = encoder
        self.documents: dict[str, Document] = {}

    def put(self, document: Document) -> dict[str, Any]:
        """Note a document; return it as the API takes it."""
        self.documents.pop(document.doc_id, None)
        self.documents[document.doc_id] = document
        return document._asdict()

    def halves(self, query: str, year: int | None) -> list[dict[str, float]]:
        """Return the scores of both halves, best first; of one year where it is given."""
        kept = [d for d in self.documents.values() if year in (None, d.metadata.get("year"))]
        if not kept:
            return [{}, {}]
        texts = [document.content for document in kept]
        vector = self._encoder.encode_queries([query]).row(0)
        matrix = self._encoder.encode_documents(texts)
        sparse = [vector.dot(matrix.row(at)) for at in range(len(kept))]
        dense = (LETTERS.encode(texts) @ LETTERS.encode([query])[0]).tolist()
        ids = [document.doc_id for document in kept]
        found = [
            {d: s for d, s in zip(ids, scores, strict=True) if s > 0 or scores is dense}
            for scores in (sparse, dense)
        ]
        return [dict(sorted(half.items(), key=lambda x: -x[1])) for half in found]

    def hybrid(self, query: str, fusion: str, depth: int, year: int | None) -> dict[str, float]:
        shares: dict[str, float] = {}
        for half in self.halves(query, year):
            best = list(half.items())[:depth]
            if not best:
                continue
            high, low = best[0][1], best[-1][1]
            for at, (doc_id, score) in enumerate(best):
                spread = (score - low) / (high - low) if high > low else 1.0
                share = 1 / (61 + at) if fusion == "rrf" else spread / 2
                shares[doc_id] = shares.get(doc_id, 0.0) + share
        return dict(sorted(shares.items(), key=lambda x: -x[1]))

    def require(self, api: TestClient) -> None:
        """Assert that hybrid searches answer as the twin does."""
        assert api.get(NEWS).json()["n_documents"] == len(self.documents)
        for fusion in ("rrf", "convex"):
            for year in (None, 2016, 1999):
                # Deep enough for all: where scores tie, brute force and faiss need not agree.
                expected = self.hybrid(QUERY, fusion, 1000, year)
                body: dict[str, Any] = {
                    "query": QUERY,
                    "k": 1000,
                    "fields": ["text"],
                    "hybrid": {"fusion": fusion, "depth": 1000},
                    "filter": None if year is None else {"equals": {"year": year}},
                }
                answer = api.post(f"{NEWS}/search", json=body)
                assert answer.status_code == 200, answer.text
                hits = answer.json()["hits"]
                assert {hit["doc_id"]: hit["score"] for hit in hits} == pytest.approx(
                    expected, abs=1e-5
                )
                for hit in hits:
                    assert hit["document"]["text"] == self.documents[hit["doc_id"]].text
                    shares = sum(part["share"] for part in hit["parts"].values())
                    assert shares == pytest.approx(hit["score"])


def drawn(rng: np.random.Generator, doc_id: int, length: int) -> Document:
    # Of different length, so that no two are as near to anything.
    words = " ".join(rng.choice(WORDS, 3 + length % 17).tolist()) + " " + "x" * (length % 29)
    return Document(str(doc_id), words, "", {"year": int(rng.integers(2014, 2018))})


def test_writes_of_every_kind_are_searched_by_both_halves(
    data: Path, encoder_path: Path, encoder: LexicalEncoder, rng: np.random.Generator
) -> None:
    how: dict[str, Any] = {"dense_encoders": ("letters=models/letters",)}
    twin = Twin(encoder)
    with service(data, encoder_path, **how) as api:
        assert api.get("/v1/encoders").json()["dense_encoders"] == ["letters"]
        config = {"seal_at": 8, "merge_factor": 2}
        info = make(api, dense="letters", fields={"year": "number"}, config=config)
        assert (info["dense"], info["dense_width"]) == ("letters", 26)
        twin.require(api)
        for document in DOCUMENTS:
            answer = api.post(f"{NEWS}/documents", json={"documents": [twin.put(document)]})
            assert answer.status_code == 200, answer.text
            twin.require(api)
        lines = [json.dumps(twin.put(drawn(rng, n, n))) for n in range(30)]
        answer = api.post(f"{NEWS}/documents/import", content="\n".join(lines))
        assert answer.json()["n_added"] == 30, answer.text
        twin.require(api)
        lines = [json.dumps(twin.put(drawn(rng, n, n + 7))) for n in range(20, 40)]
        answer = api.post(f"{NEWS}/documents/import?wait=false", content="\n".join(lines))
        assert ended(api, answer)["result"]["n_replaced"] == 10
        twin.require(api)
        api.delete(f"{NEWS}/documents/3")
        del twin.documents["3"]
        api.post(f"{NEWS}/documents/delete", json={"filter": {"equals": {"year": 2015}}})
        for doc_id in [d for d, x in twin.documents.items() if x.metadata.get("year") == 2015]:
            del twin.documents[doc_id]
        twin.require(api)
        assert ended(api, api.post(f"{NEWS}/merge"))["state"] == "succeeded"
        twin.require(api)
        copied = ended(api, api.post(f"{NEWS}/snapshots", json={"name": "one"}))
        assert copied["state"] == "succeeded"
    with service(data, encoder_path, **how) as api:
        twin.require(api)
        api.post(f"{NEWS}/documents", json={"documents": [twin.put(drawn(rng, 2, 11))]})
        twin.require(api)
        # A reader beside it sees each write, with its dense vector.
        with service(data, encoder_path, read_only=True) as reader:
            twin.require(reader)
            api.post(f"{NEWS}/documents", json={"documents": [twin.put(drawn(rng, 99, 5))]})
            twin.require(reader)
        restored = api.post(f"{NEWS}/snapshots/one/restore", json={"name": "old"})
        assert ended(api, restored)["state"] == "succeeded"
        body = {"query": QUERY, "hybrid": {}, "k": 1000, "fields": []}
        hits = api.post("/v1/indexes/old/search", json=body).json()["hits"]
        assert len(hits) == len(twin.documents) - 1


def test_batch_and_explanation(api: TestClient, encoder: LexicalEncoder) -> None:
    make(api, dense="letters")
    twin = Twin(encoder)
    body = {"documents": [twin.put(document) for document in DOCUMENTS]}
    assert api.post(f"{NEWS}/documents", json=body).status_code == 200
    batch = {"queries": [QUERY, "edison"], "hybrid": {}, "k": 5}
    results = api.post(f"{NEWS}/search/batch", json=batch).json()["results"]
    for query, result in zip(batch["queries"], results, strict=True):  # type: ignore[arg-type]
        one = api.post(f"{NEWS}/search", json={"query": query, "hybrid": {}, "k": 5}).json()
        assert [(h["doc_id"], h["score"]) for h in result["hits"]] == [
            (h["doc_id"], h["score"]) for h in one["hits"]
        ]
    of_sparse, of_dense = twin.halves(QUERY, None)
    for doc_id in twin.documents:
        told = {"query": QUERY, "doc_id": doc_id, "hybrid": {"depth": 1}, "k": 1}
        place = api.post(f"{NEWS}/explain", json=told).json()["hybrid"]
        assert place["parts"]["sparse"]["score"] == pytest.approx(of_sparse.get(doc_id, 0.0))
        assert place["parts"]["dense"]["score"] == pytest.approx(of_dense[doc_id], abs=1e-5)


def raw_document(doc_id: str, dense: Any) -> dict[str, Any]:
    return {"doc_id": doc_id, "text": "t", "vector": {"a": 1.0}, "dense_vector": dense}


def test_vectors_that_are_made_elsewhere(api: TestClient) -> None:
    made = {"name": "raw", "vocabulary": ["a", "b"], "dense_width": 2}
    info = api.post("/v1/indexes", json=made).json()
    assert (info["dense"], info["dense_width"]) == (None, 2)
    documents = [raw_document("up", [0.0, 1.0]), raw_document("down", [0.0, -1.0])]
    answer = api.post(f"{RAW}/documents", json={"documents": documents})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = {"query": {"b": 1.0}, "hybrid": {}, "dense_vector": [3.0, -2.0]}
    hits = api.post(f"{RAW}/search", json=body).json()["hits"]
    assert [(h["doc_id"], h["parts"]["dense"]["score"]) for h in hits] == [
        ("down", 2.0),
        ("up", -2.0),
    ]
    assert all(h["parts"]["sparse"]["rank"] is None for h in hits)
    told = {**body, "doc_id": "up", "k": 1}
    explained = api.post(f"{RAW}/explain", json=told).json()
    assert explained["hybrid"]["parts"]["dense"] == {"rank": 2, "score": -2.0, "share": 1 / 62}
    batch = {"queries": [{"a": 1.0}], "hybrid": {}, "dense_vectors": [[0.0, 1.0]]}
    assert api.post(f"{RAW}/search/batch", json=batch).status_code == 200

    def refused(document: dict[str, Any]) -> str:
        answer = api.post(f"{RAW}/documents", json={"documents": [document]})
        told = problem(answer, 422)
        assert told["hint"]
        return told["message"]

    assert "has no `dense_vector`" in refused({"doc_id": "x", "text": "", "vector": {"a": 1.0}})
    assert "has 3 numbers, here it takes 2" in refused(raw_document("x", [1.0, 2.0, 3.0]))
    assert "norm of 1e+30" in refused(raw_document("x", [1e30, 0.0]))
    assert "dense_vector" in refused(raw_document("x", []))
    nan = '{"documents": [{"doc_id": "x", "vector": {"a": 1.0}, "dense_vector": [NaN, 1.0]}]}'
    answer = api.post(f"{RAW}/documents", content=nan, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    lines = "\n".join(json.dumps(raw_document(d, v)) for d, v in (("p", [1, 1]), ("q", [1])))
    for wait in ("true", "false"):
        answer = api.post(f"{RAW}/documents/import?wait={wait}", content=lines)
        told = answer.json() if wait == "true" else ended(api, answer)["result"]
        assert told["n_added"] + told["n_replaced"] == 1
        assert [p["line"] for p in told["problems"]] == [2]
        assert "'q' has 1 numbers" in told["problems"][0]["message"]
    assert api.get(RAW).json()["n_documents"] == 3
    no_vector = {"query": {"a": 1.0}, "hybrid": {}}
    assert "dense_vector" in problem(api.post(f"{RAW}/search", json=no_vector), 422)["hint"]
    wide = {**no_vector, "dense_vector": [1.0] * 3}
    assert "has 3 numbers" in problem(api.post(f"{RAW}/search", json=wide), 422)["message"]
    without = {"query": {"a": 1.0}, "dense_vector": [1.0, 2.0]}
    assert "only a hybrid" in problem(api.post(f"{RAW}/search", json=without), 422)["message"]


def test_what_cannot_be_made(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**body: Any) -> str:
        asked = {"name": "x", "encoder": "words", **body}
        return problem(api.post("/v1/indexes", json=asked), 422)["message"]

    assert "no dense encoder 'leters'" in refused(dense="leters")
    assert "Did you mean 'letters'" in refused(dense="leters")
    assert "either dense or dense_width" in refused(dense="letters", dense_width=3)
    assert "dense_width" in refused(dense_width=0)
    assert api.get("/v1/indexes").json()["indexes"] == []


def test_another_model_in_the_folder_is_refused(
    api: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(api, dense="letters")
    monkeypatch.setattr(LetterEncoder, "fingerprint", property(lambda self: "0" * 64))
    document = {"doc_id": "x", "text": "super bowl"}
    answer = api.post(f"{NEWS}/documents", json={"documents": [document]})
    assert "not the one" in problem(answer, 500)["message"]
    assert api.get(NEWS).json()["n_documents"] == 0


def test_through_the_client(
    data: Path, encoder_path: Path, encoder: LexicalEncoder, rng: np.random.Generator
) -> None:
    import httpx

    from serving.app import create_app
    from serving.settings import ServeSettings

    settings = ServeSettings(
        allowed_hosts=("*",), data=data, dense_encoders=("letters=x",), access_log=False
    )
    with TestClient(create_app(settings)) as served:

        def pass_on(request: httpx.Request) -> httpx.Response:
            answer = served.request(
                request.method, request.url.raw_path.decode(), content=request.read(),
                headers={"content-type": request.headers.get("content-type", "")},
            )  # fmt: skip
            return httpx.Response(answer.status_code, content=answer.content)

        with Client("http://x", transport=httpx.MockTransport(pass_on)) as client:
            assert client.dense_encoders() == ["letters"]
            assert client.create("raw", vocabulary=["a", "b"], dense_width=4).dense_width == 4
            documents = [Document(str(n), "") for n in range(6)]
            weights = [{"a": 1.0 + n} for n in range(6)]
            dense = rng.standard_normal((6, 4)).astype(np.float32)
            client.upsert("raw", documents[:2], weights[:2], dense_vectors=dense[:2])
            client.import_documents("raw", documents[2:4], weights[2:4], dense_vectors=dense[2:4])
            task = client.import_in_background(
                "raw", documents[4:], weights[4:], dense_vectors=dense[4:]
            )
            client.wait(task, every_s=0.01)
            how: dict[str, Any] = {"hybrid": {"weights": {"sparse": 0}}, "k": 6}
            answer = client.search("raw", {"a": 1.0}, dense_vector=dense[3], **how)
            best = np.argsort(-(dense @ dense[3])).tolist()
            assert [int(hit.doc_id) for hit in answer.hits] == best
            batch = client.search_batch("raw", [{"a": 1.0}], dense_vectors=dense[3:4], **how)
            assert [hit.doc_id for hit in batch.results[0].hits] == [h.doc_id for h in answer.hits]
            told = client.explain("raw", {"a": 1.0}, "3", hybrid={}, dense_vector=dense[3])
            assert told.hybrid is not None
            assert told.hybrid.parts.dense.score == pytest.approx(float(dense[3] @ dense[3]))


@pytest.fixture
def on_disk(tmp_path: Path, encoder: LexicalEncoder) -> list[str]:
    """Encode `DOCUMENTS`; return the options that name them."""
    encode_collection(encoder, DOCUMENTS, tmp_path / "vectors")
    lines = (
        json.dumps({"_id": d.doc_id, "text": d.text, "title": d.title, **d.metadata})
        for d in DOCUMENTS
    )
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    return ["--vectors", str(tmp_path / "vectors"), "--corpus", str(tmp_path / "corpus.jsonl")]


def test_on_the_command_line(tmp_path: Path, on_disk: list[str]) -> None:
    app, runner = typer.Typer(), CliRunner()
    commands.register(app)
    index_commands.register(app)

    def run(*arguments: Any) -> Any:
        done = runner.invoke(app, [*map(str, arguments), "--json", "-q"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    live = tmp_path / "live"
    made = run("index", "create", live, *on_disk, "--dense", tmp_path)
    assert (made["dense"]["encoder"], made["dense"]["width"]) == ("letters", 26)
    shown = runner.invoke(app, ["index", "info", str(live)]).stdout.replace("\n", " ")
    assert "letters, 26 numbers a document" in shown
    assert run("index", "add", live, *on_disk)["n_replaced"] == 5
    rows = LETTERS.encode([document.content for document in DOCUMENTS])
    with Collection.open(live) as opened:
        for at, document in enumerate(DOCUMENTS):
            assert np.array_equal(opened.dense_vector(document.doc_id), rows[at])
    ask = ("search", live, QUERY, "--hybrid", "-k", "5")
    assert len(run(*ask)["hits"]) == 5
    only = run(*ask, "--filter", '{"equals": {"year": 2016}}')["hits"]
    assert [hit["doc_id"] for hit in only] == ["bowl"]
    # The same vectors, made elsewhere.
    np.save(tmp_path / "rows.npy", rows)
    given = ("--dense-vectors", tmp_path / "rows.npy")
    both = run("index", "create", tmp_path / "both", *on_disk, "--dense", tmp_path, *given)
    assert both["dense"]["encoder"] == "letters"
    assert run("search", tmp_path / "both", *ask[2:])["hits"] == run(*ask)["hits"]
    raw = run("index", "create", tmp_path / "raw", *on_disk[:2], *given)
    assert raw["dense"] == {"width": 26, "encoder": None, "fingerprint": None}
    with pytest.raises(DataError, match="needs a dense vector of 26"):
        run("index", "add", tmp_path / "raw", *on_disk)
    assert run("index", "add", tmp_path / "raw", *on_disk, *given)["n_replaced"] == 5
    with pytest.raises(ArgumentError, match="there are none"):
        run("index", "create", tmp_path / "x", *on_disk[:2], "--dense", tmp_path)
    np.save(tmp_path / "few.npy", rows[:3])
    with pytest.raises(DataError, match="5 documents but 3 dense"):
        run("index", "add", tmp_path / "raw", *on_disk, "--dense-vectors", tmp_path / "few.npy")
    (tmp_path / "x.npy").write_text("no array")
    for path, word in (("x.npy", "cannot be read"), ("y.npy", "cannot be read")):
        with pytest.raises(DataError, match=word):
            run("index", "add", live, *on_disk, "--dense-vectors", tmp_path / path)
    np.save(tmp_path / "flat.npy", rows[0])
    with pytest.raises(DataError, match="of shape"):
        run("index", "add", live, *on_disk, "--dense-vectors", tmp_path / "flat.npy")
