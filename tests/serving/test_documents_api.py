"""Live collections over HTTP: write, search, filter, delete, and what is refused."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from indexing.collection import Collection
from lsr.core.errors import CollectionLockedError, RequestError
from lsr.encoders.lexical import LexicalEncoder
from serving import commands
from serving.app import create_app
from serving.client import Client
from serving.engine import Engine
from serving.keys import KeyRing
from serving.schemas_writing import DocumentIn
from serving.settings import IndexSource, ServeSettings
from tests.serving.conftest import DOCUMENTS
from tests.serving.test_client import ThroughTestClient

LIVE = "/v1/indexes/live"
BODY = {
    "documents": [
        {"doc_id": d.doc_id, "text": d.text, "title": d.title, "metadata": dict(d.metadata)}
        for d in DOCUMENTS
    ]
}


@pytest.fixture
def collection_path(tmp_path: Path, encoder: LexicalEncoder) -> Path:
    encoder.save_query_side(tmp_path / "side")
    Collection.create(
        tmp_path / "live",
        encoder.vocabulary,
        encoder=encoder.name,
        idf=encoder.idf,
        query_encoder=tmp_path / "side",
    ).close()
    return tmp_path / "live"


@pytest.fixture
def live(collection_path: Path, index_path: Path) -> Iterator[TestClient]:
    settings = ServeSettings(threads=2, allowed_hosts=("testserver",))
    sources = [IndexSource("live", collection_path), IndexSource("toy", index_path)]
    with TestClient(create_app(settings, sources), raise_server_exceptions=False) as made:
        yield made


def found(client: TestClient, query: Any, **more: Any) -> list[str]:
    body = client.post(f"{LIVE}/search", json={"query": query, **more})
    assert body.status_code == 200, body.text
    return [hit["doc_id"] for hit in body.json()["hits"]]


def test_what_is_written_is_found_as_in_an_index(live: TestClient) -> None:
    assert found(live, "super bowl") == []
    answer = live.post(f"{LIVE}/documents", json=BODY).json()
    assert (answer["n_added"], answer["n_replaced"]) == (5, 0)
    request = {"query": "super bowl new york", "explain": True, "highlight": True}
    here = live.post(f"{LIVE}/search", json=request).json()["hits"]
    there = live.post("/v1/indexes/toy/search", json=request).json()["hits"]
    for one, other in zip(here, there, strict=True):
        assert one.pop("score") == pytest.approx(other.pop("score"))
        for term in [*one.pop("explanation"), *other.pop("explanation")]:
            assert term["contribution"] > 0
        assert one == other
    info = live.get("/v1/indexes/live").json()
    assert info["updatable"] and info["n_documents"] == 5
    assert info["fields"] == {"year": "number", "tags": "string"}
    assert live.get(f"{LIVE}/documents/norm/ans").json()["title"] == "Normans"
    metrics = live.get("/metrics").text
    assert 'lsr_index_documents{index="live"} 5' in metrics
    assert 'lsr_collection_head_documents{index="live"} 5' in metrics
    assert 'lsr_collection_segments{index="live"} 0' in metrics
    assert 'lsr_writes_pending{index="live"} 0' in metrics


def test_replace_and_delete(live: TestClient) -> None:
    live.post(f"{LIVE}/documents", json=BODY)
    changed = {"documents": [{"doc_id": "tesla", "text": "Normandy in France"}]}
    assert live.post(f"{LIVE}/documents", json=changed).json()["n_replaced"] == 1
    assert "tesla" in found(live, "normandy") and "tesla" not in found(live, "new york")
    assert live.delete(f"{LIVE}/documents/norm/ans").json()["n_deleted"] == 1
    assert live.delete(f"{LIVE}/documents/norm/ans").status_code == 404
    assert found(live, "normandy") == ["tesla"]
    by_id = live.post(f"{LIVE}/documents/delete", json={"doc_ids": ["tesla", "nobody"]})
    assert by_id.json()["n_deleted"] == 1
    by_filter = {"filter": {"equals": {"tags": "sport"}}}
    assert live.post(f"{LIVE}/documents/delete", json=by_filter).json()["n_deleted"] == 1
    assert found(live, "super bowl normandy edison network") == ["edison", "emoji"]


def test_filters(live: TestClient) -> None:
    live.post(f"{LIVE}/documents", json=BODY)
    passing = {"range": {"year": {"gte": 2016}}}
    assert found(live, "super network", filter=passing) == ["bowl"]
    assert set(found(live, "super network", filter={"not": passing})) == {"edison", "emoji"}
    batch = {"queries": ["super", "york"], "filter": passing}
    results = live.post(f"{LIVE}/search/batch", json=batch).json()["results"]
    assert [[h["doc_id"] for h in r["hits"]] for r in results] == [["bowl"], []]
    wrong = live.post(f"{LIVE}/search", json={"query": "super", "filter": {"equals": {"yeer": 1}}})
    assert wrong.status_code == 422
    assert wrong.json()["error"]["code"] == "filter_invalid"
    assert "year" in wrong.json()["error"]["message"]


def test_vectors_of_ones_own(live: TestClient) -> None:
    own = {"doc_id": "own", "text": "x", "vector": {"super": 2.0, "york": 0.5}}
    assert live.post(f"{LIVE}/documents", json={"documents": [own]}).status_code == 200
    answer = live.post(f"{LIVE}/search", json={"query": {"super": 3.0}}).json()
    assert answer["hits"][0]["score"] == pytest.approx(6.0)
    own["vector"] = {"supper": 1.0}
    refused = live.post(f"{LIVE}/documents", json={"documents": [own]})
    assert refused.status_code == 422
    assert "'super'" in refused.json()["error"]["message"]


def test_a_write_is_all_or_nothing(live: TestClient) -> None:
    mixed = [
        {"doc_id": "one", "text": "super", "metadata": {"year": 1}},
        {"doc_id": "two", "text": "bowl", "metadata": {"year": "late"}},
    ]
    refused = live.post(f"{LIVE}/documents", json={"documents": mixed})
    assert refused.status_code == 422
    assert "'year'" in refused.json()["error"]["message"]
    assert found(live, "super bowl") == []


def test_import_reports_each_bad_line(live: TestClient) -> None:
    lines = [
        json.dumps({"doc_id": "a", "text": "super bowl", "metadata": {"year": 1}}),
        "{not json",
        "",
        json.dumps({"doc_id": "b", "text": "bowl", "metadata": {"year": "late"}}),
        json.dumps({"text": "no id"}),
        json.dumps({"doc_id": "c", "text": "new york", "txt": 1}),
        json.dumps({"doc_id": "d", "text": "network"}),
    ]
    answer = live.post(f"{LIVE}/documents/import", content="\n".join(lines)).json()
    assert (answer["n_added"], answer["n_failed"]) == (2, 4)
    assert [problem["line"] for problem in answer["problems"]] == [2, 4, 5, 6]
    messages = [problem["message"] for problem in answer["problems"]]
    assert "not JSON" in messages[0]
    assert "'year'" in messages[1]
    assert "doc_id" in messages[2]
    assert "txt" in messages[3]
    assert sorted(found(live, "super bowl network york")) == ["a", "d"]


def test_a_beir_corpus_is_imported_as_it_is(live: TestClient) -> None:
    lines = [
        json.dumps({"_id": "4983", "title": "Bowl", "text": "super", "metadata": {}}),
        json.dumps({"_id": "norm/ans", "doc_id": "norm/ans", "text": "new york"}),
        json.dumps({"_id": "one", "doc_id": "two", "text": "york"}),
        json.dumps({"_id": 7, "text": "york"}),
    ]
    for wait in ("true", "false"):
        path = f"{LIVE}/documents/import?wait={wait}"
        answer = live.post(path, content="\n".join(lines)).json()
        if wait == "false":
            while answer["state"] not in ("succeeded", "failed"):
                answer = live.get(f"/v1/tasks/{answer['id']}").json()
            answer = answer["result"]
        assert (answer["n_added"] + answer["n_replaced"], answer["n_failed"]) == (2, 2)
        assert "doc_id and _id" in answer["problems"][0]["message"]
        assert "doc_id: " in answer["problems"][1]["message"]
        assert live.get(f"{LIVE}/documents/4983").json()["title"] == "Bowl"
        assert live.delete(f"{LIVE}/documents/norm/ans").status_code == 200
    body = {"documents": [{"_id": "n1", "text": "network"}]}
    assert live.post(f"{LIVE}/documents", json=body).json()["n_added"] == 1
    body["documents"][0]["doc_id"] = "n2"
    refused = live.post(f"{LIVE}/documents", json=body)
    assert refused.status_code == 422 and "differ" in refused.json()["error"]["message"]
    assert set(found(live, "network bowl")) == {"n1", "4983"}


def test_the_document_says_that_either_identifier_does() -> None:
    schema = DocumentIn.model_json_schema()
    assert schema["anyOf"] == [{"required": ["doc_id"]}, {"required": ["_id"]}]
    assert not schema["required"]
    bounds = ("type", "minLength", "maxLength", "pattern")
    one, other = (schema["properties"][name] for name in ("doc_id", "_id"))
    assert [one[name] for name in bounds] == [other[name] for name in bounds]


def test_import_of_more_than_a_body_may_hold(live: TestClient) -> None:
    filler = "super " * 2000

    def lines() -> Iterator[bytes]:
        for number in range(600):
            yield json.dumps({"doc_id": f"n{number}", "text": filler}).encode() + b"\n"

    answer = live.post(f"{LIVE}/documents/import", content=lines()).json()
    assert answer["n_added"] == 600 and answer["n_failed"] == 0
    endless = live.post(f"{LIVE}/documents/import", content=b"x" * (5 << 20))
    assert endless.status_code == 422
    assert "A line is longer" in endless.json()["error"]["message"]


def test_what_cannot_be_written(live: TestClient) -> None:
    for method, path, body in (
        ("POST", "documents", BODY),
        ("POST", "documents/delete", {"doc_ids": ["bowl"]}),
        ("DELETE", "documents/bowl", None),
    ):
        answer = live.request(method, f"/v1/indexes/toy/{path}", json=body)
        assert answer.status_code == 422
        assert "does not change" in answer.json()["error"]["message"]
    imported = live.post("/v1/indexes/toy/documents/import", content="{}")
    assert imported.status_code == 422
    for body in ({}, {"doc_ids": ["a"], "filter": {"exists": "year"}}):
        answer = live.post(f"{LIVE}/documents/delete", json=body)
        assert answer.json()["error"]["message"] == "Give either doc_ids or filter."


def test_one_process_writes_the_others_read(collection_path: Path) -> None:
    writer = Engine.open(collection_path, writable=True)
    with pytest.raises(CollectionLockedError):
        Engine.open(collection_path, writable=True)
    settings = ServeSettings(threads=1, read_only=True, allowed_hosts=("testserver",))
    app = create_app(settings, [IndexSource("live", collection_path)])
    with TestClient(app) as reader:
        writing = create_app(
            ServeSettings(threads=1, allowed_hosts=("testserver",)),
            engines=[Engine(writer.source, writer.encoder, name="live")],
        )
        with TestClient(writing) as other:
            other.post(f"{LIVE}/documents", json=BODY)
        assert found(reader, "normandy") == ["norm/ans"]
        refused = reader.post(f"{LIVE}/documents", json=BODY)
        assert "reading only" in refused.json()["error"]["message"]


def test_acknowledged_writes_survive_a_restart(collection_path: Path) -> None:
    settings = ServeSettings(threads=1, allowed_hosts=("testserver",))
    sources = [IndexSource("live", collection_path)]
    with TestClient(create_app(settings, sources)) as first:
        first.post(f"{LIVE}/documents", json=BODY)
        before = found(first, "super bowl york")
    with TestClient(create_app(settings, sources)) as second:
        assert found(second, "super bowl york") == before


def test_back_pressure(collection_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    original = Collection.upsert_groups

    def slow(self: Collection, *arguments: Any, **named: Any) -> Any:
        assert gate.wait(5)
        return original(self, *arguments, **named)

    monkeypatch.setattr(Collection, "upsert_groups", slow)
    settings = ServeSettings(threads=1, max_waiting_writes=2, allowed_hosts=("t",))
    app = create_app(settings, [IndexSource("live", collection_path)])

    async def main() -> list[httpx.Response]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client,
        ):
            one = {"documents": [BODY["documents"][0]]}
            posts = [
                asyncio.create_task(client.post(f"{LIVE}/documents", json=one)) for _ in range(5)
            ]
            while sum(post.done() for post in posts) < 3:
                await asyncio.sleep(0.005)
            # Searches go on meanwhile.
            searched = await client.post(f"{LIVE}/search", json={"query": "super"})
            assert searched.status_code == 200
            gate.set()
            return await asyncio.gather(*posts)

    responses = asyncio.run(main())
    assert sorted(r.status_code for r in responses) == [200, 200, 429, 429, 429]
    refused = next(r for r in responses if r.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "write_queue_full"


def test_writes_that_wait_are_stored_together_each_for_itself(
    collection_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    original = Collection.upsert_groups
    sizes: list[int] = []

    def slow(self: Collection, groups: Any) -> Any:
        sizes.append(len(groups))
        assert gate.wait(5)
        return original(self, groups)

    monkeypatch.setattr(Collection, "upsert_groups", slow)
    settings = ServeSettings(threads=1, allowed_hosts=("t",), access_log=False)
    app = create_app(settings, [IndexSource("live", collection_path)])

    async def main() -> list[httpx.Response]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client,
        ):

            def post(doc_id: str, year: Any) -> asyncio.Task[httpx.Response]:
                document = {"doc_id": doc_id, "text": "edison", "metadata": {"year": year}}
                body = {"documents": [document]}
                return asyncio.create_task(client.post(f"{LIVE}/documents", json=body))

            posts = [post("first", 1)]
            while not sizes:
                await asyncio.sleep(0.005)
            posts += [post("second", 2), post("third", "never"), post("second", 4)]
            writer = (await app.state.service.use("live")).writer
            while writer.pending < 4:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            gate.set()
            answers = await asyncio.gather(*posts)
            found = await client.post(f"{LIVE}/search", json={"query": "edison"})
            assert [hit["doc_id"] for hit in found.json()["hits"]] == ["first", "second"]
            return answers

    answers = asyncio.run(main())
    assert [answer.status_code for answer in answers] == [200, 200, 422, 200]
    assert "year" in answers[2].json()["error"]["message"]
    assert [a.json().get("n_replaced") for a in answers] == [0, 0, None, 1]
    assert sizes == [1, 3]


def test_reading_keys_do_not_write(collection_path: Path, tmp_path: Path) -> None:
    ring, reader = KeyRing().with_new("reader", "read")
    ring, writer = ring.with_new("writer", "write")
    ring.save(tmp_path / "keys.json")
    settings = ServeSettings(
        threads=1, keys_file=tmp_path / "keys.json", allowed_hosts=("testserver",)
    )
    with TestClient(create_app(settings, [IndexSource("live", collection_path)])) as client:
        for method, path, body in (
            ("POST", "documents", BODY),
            ("POST", "documents/delete", {"doc_ids": ["bowl"]}),
            ("POST", "documents/import", BODY),
            ("DELETE", "documents/bowl", None),
        ):
            for token, status in ((None, 401), (reader, 403)):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                answer = client.request(method, f"{LIVE}/{path}", json=body, headers=headers)
                assert answer.status_code == status, (method, path)
        headers = {"authorization": f"Bearer {writer}"}
        assert client.post(f"{LIVE}/documents", json=BODY, headers=headers).status_code == 200
        assert client.get(f"{LIVE}/documents/bowl", headers=headers).status_code == 200


def test_the_command_line_searches_collections(live: TestClient, collection_path: Path) -> None:
    live.post(f"{LIVE}/documents", json=BODY)
    app = typer.Typer()
    commands.register(app)
    arguments = ["search", str(collection_path), "super network", "--json", "--quiet"]
    body = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert len(body["hits"]) == 3
    arguments += ["--filter", '{"equals": {"year": 2016}}']
    body = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert [hit["doc_id"] for hit in body["hits"]] == ["bowl"]


def test_the_client_writes(live: TestClient) -> None:
    with Client("http://testserver", transport=ThroughTestClient(live)) as client:
        assert client.upsert("live", DOCUMENTS[:2]).n_added == 2
        done = client.import_documents("live", [*DOCUMENTS, DOCUMENTS[0]._replace(doc_id="")])
        assert (done.n_added, done.n_replaced, done.n_failed) == (3, 2, 1)
        assert done.problems[0].line == 6
        answer = client.search("live", "super network", filter={"exists": "year"})
        assert [hit.doc_id for hit in answer.hits] == ["bowl"]
        assert client.delete("live", ["tesla"]).n_deleted == 1
        assert client.delete("live", filter={"exists": "year"}).n_deleted == 1
        assert client.index("live").n_documents == 3
        with pytest.raises(RequestError):
            client.delete("live")


def test_single_values_of_the_metadata(live: TestClient) -> None:
    metadata = {"year": 2016, "author": {"name": "Ada", "born": 1815}, "a.b": 1, "tags": ["x"]}
    one = {"doc_id": "one", "text": "super", "title": "One", "metadata": metadata}
    assert live.post(f"{LIVE}/documents", json={"documents": [one]}).status_code == 200
    for fields, expected in (
        (["title"], {"title": "One"}),
        (["metadata.year", "metadata.nothing"], {"metadata": {"year": 2016}}),
        (
            ["metadata.author.name", "metadata.a.b", "text"],
            {"text": "super", "metadata": {"author": {"name": "Ada"}, "a.b": 1}},
        ),
        (["metadata.author.dead", "metadata.year.x"], {"metadata": {}}),
        (["metadata", "metadata.year"], {"metadata": metadata}),
    ):
        answer = live.post(f"{LIVE}/search", json={"query": "super", "fields": fields}).json()
        assert answer["hits"][0]["document"] == {"doc_id": "one", **expected}
        listed = live.get(f"{LIVE}/search", params={"q": "super", "fields": fields}).json()
        assert listed["hits"] == answer["hits"]
    refused = live.post(f"{LIVE}/search", json={"query": "super", "fields": ["author"]})
    assert refused.status_code == 422


def test_why_a_document_of_a_collection_is_not_found(live: TestClient) -> None:
    live.post(f"{LIVE}/documents", json=BODY)

    def why(doc_id: str, **more: Any) -> tuple[str, float]:
        body = {"query": "super network", "doc_id": doc_id, **more}
        answer = live.post(f"{LIVE}/explain", json=body).json()
        assert sum(t["contribution"] for t in answer["terms"]) == pytest.approx(answer["score"])
        return answer["reason"], answer["score"]

    passing = {"range": {"year": {"gte": 2016}}}
    assert why("bowl", filter=passing)[0] == "found"
    reason, score = why("edison", filter=passing)
    assert reason == "filtered_out" and score > 0
    assert why("edison")[0] == "found"
    assert why("tesla")[0] == "no_shared_term"
    assert why("emoji", k=1)[0] == "below_kth_score"
    wrong = {"query": "super", "doc_id": "bowl", "filter": {"equals": {"yeer": 1}}}
    assert live.post(f"{LIVE}/explain", json=wrong).json()["error"]["code"] == "filter_invalid"


def test_a_collection_without_a_dense_half_says_how_to_get_one(live: TestClient) -> None:
    refused = live.post(f"{LIVE}/search", json={"query": "super", "hybrid": {}})
    assert refused.status_code == 422
    assert "lsr index create --dense" in refused.json()["error"]["hint"]
    document = {"doc_id": "x", "text": "super", "dense_vector": [1.0, 2.0]}
    refused = live.post(f"{LIVE}/documents", json={"documents": [document]})
    assert refused.status_code == 422
    assert "no dense half" in refused.json()["error"]["message"]
