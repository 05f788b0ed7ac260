"""Collections made, kept, copied and deleted over HTTP."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from indexing import tuning
from lsr.core.errors import CollectionLockedError
from lsr.encoders.lexical import LexicalEncoder
from serving.app import create_app
from serving.data_folder import DataFolder
from serving.settings import IndexSource, ServeSettings
from tests.serving.conftest import DOCUMENTS

BODY = {
    "documents": [
        {"doc_id": d.doc_id, "text": d.text, "title": d.title, "metadata": dict(d.metadata)}
        for d in DOCUMENTS
    ]
}


@pytest.fixture(scope="session")
def encoder_path(tmp_path_factory: pytest.TempPathFactory, encoder: LexicalEncoder) -> Path:
    path = tmp_path_factory.mktemp("encoders") / "words"
    encoder.save(path)
    return path


@contextmanager
def service(data: Path, encoder_path: Path, **more: Any) -> Iterator[TestClient]:
    settings = ServeSettings(
        threads=2,
        allowed_hosts=("testserver",),
        data=data,
        encoders=(f"words={encoder_path}",),
        access_log=False,
        **more,
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def api(data: Path, encoder_path: Path) -> Iterator[TestClient]:
    with service(data, encoder_path) as made:
        yield made


def make(api: TestClient, name: str = "news", **more: Any) -> Any:
    answer = api.post("/v1/indexes", json={"name": name, "encoder": "words", **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def found(api: TestClient, query: Any, name: str = "news", **more: Any) -> list[str]:
    answer = api.post(f"/v1/indexes/{name}/search", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return [hit["doc_id"] for hit in answer.json()["hits"]]


def ended(api: TestClient, answer: Any) -> Any:
    """Return the task that `answer` began, once it has ended."""
    assert answer.status_code == 202, answer.text
    task = answer.json()
    until = time.monotonic() + 20
    while task["state"] not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < until, task
        time.sleep(0.01)
        task = api.get(f"/v1/tasks/{task['id']}").json()
    return task


def problem(answer: Any, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    return error


def test_a_collection_lives_through_a_restart(data: Path, encoder_path: Path) -> None:
    with service(data, encoder_path) as api:
        assert "words" in api.get("/v1/encoders").json()["encoders"]
        info = make(api, fields={"day": "date"}, config={"seal_at": 100})
        assert (info["n_documents"], info["updatable"], info["encodes_documents"]) == (
            0,
            True,
            True,
        )
        assert info["fields"] == {"day": "date"}
        assert api.post("/v1/indexes/news/documents", json=BODY).json()["n_added"] == 5
        assert found(api, "super bowl")[0] == "bowl"
    with service(data, encoder_path) as api:
        assert [i["name"] for i in api.get("/v1/indexes").json()["indexes"]] == ["news"]
        assert found(api, "super bowl")[0] == "bowl"
        changed = {"documents": [{"doc_id": "tesla", "text": "Normandy"}]}
        assert api.post("/v1/indexes/news/documents", json=changed).json()["n_replaced"] == 1
        stats = api.get("/v1/indexes/news/stats").json()
        assert stats["n_documents"] == 5
        assert stats["collection"]["pending_documents"] == 0
        assert api.delete("/v1/indexes/news").json()["deleted"] == "news"
        assert problem(api.get("/v1/indexes/news"), 404)["code"] == "index_not_found"
        assert list((data / "collections").iterdir()) == []
        make(api)
        assert found(api, "super bowl") == []


def test_vectors_without_an_encoder(api: TestClient) -> None:
    for name, vocabulary, token in (("words", ["super", "bowl"], "bowl"), ("numbers", 100, "7")):
        body = {"name": name, "vocabulary": vocabulary}
        info = api.post("/v1/indexes", json=body)
        assert info.status_code == 201 and info.json()["encoder"] is None
        documents = {"documents": [{"doc_id": "a", "vector": {token: 2.0}}]}
        assert api.post(f"/v1/indexes/{name}/documents", json=documents).status_code == 200
        assert found(api, {token: 1.5}, name) == ["a"]
        text = {"documents": [{"doc_id": "b", "text": "bowl"}]}
        refused = problem(api.post(f"/v1/indexes/{name}/documents", json=text), 422)
        assert "no document encoder" in refused["message"]
        refused = problem(api.post(f"/v1/indexes/{name}/search", json={"query": "bowl"}), 422)
        assert "without a query encoder" in refused["message"]


NO_NAMES = (
    "..", ".", "", "a/b", "../x", "a\\b", ".hidden", "-x", "a" * 65, "ä", "a\n", "a b", "%2e",
)  # fmt: skip


def test_names_that_are_no_names(api: TestClient, data: Path) -> None:
    make(api)
    for name in NO_NAMES:
        assert problem(api.post("/v1/indexes", json={"name": name, "vocabulary": 3}), 422)
        assert problem(api.post("/v1/indexes/news/snapshots", json={"name": name}), 422)
        # Every byte: clients take dots and slashes for themselves.
        quoted = "".join(f"%{byte:02X}" for byte in name.encode())
        for answer in (
            api.delete(f"/v1/indexes/{quoted}"),
            api.delete(f"/v1/indexes/news/snapshots/{quoted}"),
            api.post(f"/v1/indexes/news/snapshots/{quoted}/restore", json={"name": "other"}),
            api.get(f"/v1/indexes/{quoted}/snapshots"),
        ):
            assert answer.status_code in (404, 405, 422), (answer.request.url, answer.text)
    assert [p.name for p in (data / "collections").iterdir()] == ["news"]


def test_what_cannot_be_made(api: TestClient) -> None:
    make(api)
    taken = problem(api.post("/v1/indexes", json={"name": "news", "vocabulary": 3}), 409)
    assert taken["code"] == "index_exists"
    for body, word in (
        ({"encoder": "wrods"}, "'words'"),
        ({"encoder": "/etc"}, "no encoder"),
        ({}, "either encoder or vocabulary"),
        ({"encoder": "words", "vocabulary": 3}, "either encoder or vocabulary"),
        ({"vocabulary": ["a", "a"]}, "twice"),
        ({"vocabulary": 0}, "vocabulary"),
        ({"vocabulary": 3, "config": {"seal_att": 1}}, "seal_at"),
        ({"vocabulary": 3, "fields": {"day": "dates"}}, "fields.day"),
        ({"vocabulary": 3, "config": {"index": {"layout": {"kind": "round"}}}}, "round"),
    ):
        refused = problem(api.post("/v1/indexes", json={"name": "other", **body}), 422)
        assert word in refused["message"], refused
    assert problem(api.get("/v1/indexes/other"), 404)


def test_without_a_data_folder(client: TestClient) -> None:
    for answer in (
        client.post("/v1/indexes", json={"name": "news", "vocabulary": 3}),
        client.delete("/v1/indexes/toy"),
        client.get("/v1/indexes/toy/snapshots"),
    ):
        assert "--data" in problem(answer, 422)["hint"]


def test_what_was_named_at_the_start_is_not_deleted(
    data: Path, index_path: Path, encoder_path: Path
) -> None:
    settings = ServeSettings(allowed_hosts=("testserver",), data=data, access_log=False)
    app = create_app(settings, [IndexSource("toy", index_path)])
    with TestClient(app, raise_server_exceptions=False) as api:
        assert "when it started" in problem(api.delete("/v1/indexes/toy"), 422)["message"]
        assert problem(api.delete("/v1/indexes/nobody"), 404)
        assert problem(api.post("/v1/indexes", json={"name": "toy", "vocabulary": 3}), 409)
        refused = problem(api.post("/v1/indexes/toy/snapshots", json={}), 422)
        assert "does not change" in refused["message"]
        stats = api.get("/v1/indexes/toy/stats").json()
        assert stats["collection"] is None and sum(stats["bytes"].values()) > 0


def test_snapshot_and_restore(api: TestClient) -> None:
    make(api)
    api.post("/v1/indexes/news/documents", json=BODY)
    task = ended(api, api.post("/v1/indexes/news/snapshots", json={"name": "first"}))
    assert task["state"] == "succeeded", task
    assert task["result"]["n_documents"] == 5
    again = api.post("/v1/indexes/news/snapshots", json={"name": "first"})
    assert problem(again, 409)["code"] == "snapshot_exists"
    api.delete("/v1/indexes/news/documents/bowl")
    assert ended(api, api.post("/v1/indexes/news/snapshots", json={}))["state"] == "succeeded"
    listed = api.get("/v1/indexes/news/snapshots").json()["snapshots"]
    assert sorted(s["n_documents"] for s in listed) == [4, 5]
    restore = "/v1/indexes/news/snapshots/first/restore"
    assert problem(api.post(restore, json={"name": "news"}), 409)
    # Back to an earlier state: the copies outlive their collection.
    api.delete("/v1/indexes/news")
    assert ended(api, api.post(restore, json={"name": "news"}))["state"] == "succeeded"
    assert found(api, "super bowl")[0] == "bowl"
    text = {"documents": [{"doc_id": "new", "text": "Normandy"}]}
    assert api.post("/v1/indexes/news/documents", json=text).status_code == 200
    assert api.delete("/v1/indexes/news/snapshots/first").json()["deleted"] == "first"
    gone = problem(api.delete("/v1/indexes/news/snapshots/first"), 404)
    assert gone["code"] == "snapshot_not_found"
    assert problem(api.get("/v1/indexes/nobody/snapshots"), 404)


def test_a_damaged_snapshot_is_not_restored(api: TestClient, data: Path) -> None:
    make(api)
    api.post("/v1/indexes/news/documents", json=BODY)
    ended(api, api.post("/v1/indexes/news/snapshots", json={"name": "first"}))
    store = data / "snapshots" / "news" / "first" / "collection" / "store.sqlite"
    damaged = bytearray(store.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    store.write_bytes(damaged)
    answer = api.post("/v1/indexes/news/snapshots/first/restore", json={"name": "back"})
    task = ended(api, answer)
    assert task["state"] == "failed" and task["error"]["code"] == "artifact_corrupted"
    assert problem(api.get("/v1/indexes/back"), 404)
    make(api, "back")


def test_merge(api: TestClient) -> None:
    make(api, config={"seal_at": 2})
    api.post("/v1/indexes/news/documents", json=BODY)
    api.delete("/v1/indexes/news/documents/bowl")
    task = ended(api, api.post("/v1/indexes/news/merge"))
    assert task["state"] == "succeeded" and task["result"]["n_documents"] == 4
    collection = api.get("/v1/indexes/news/stats").json()["collection"]
    assert [(s["n_rows"], s["n_alive"]) for s in collection["segments"]] == [(4, 4)]
    assert found(api, "network") == ["edison"]
    late = problem(api.post(f"/v1/tasks/{task['id']}/cancel"), 409)
    assert late["code"] == "task_not_cancellable"
    assert problem(api.get("/v1/tasks/nothing"), 404)["code"] == "task_not_found"
    assert [t["id"] for t in api.get("/v1/tasks?index=news").json()["tasks"]] == [task["id"]]
    assert api.get("/v1/tasks?index=other").json()["tasks"] == []


def test_a_waiting_task_is_cancelled(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    make(api)
    entered, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> bool:
        entered.set()
        go_on.wait(10)
        return True

    monkeypatch.setattr("indexing.collection.Collection.merge", slow)
    first = api.post("/v1/indexes/news/merge")
    assert entered.wait(5)
    assert (
        "cannot stop" in problem(api.post(f"/v1/tasks/{first.json()['id']}/cancel"), 409)["message"]
    )
    second = api.post("/v1/indexes/news/snapshots", json={"name": "never"})
    assert second.json()["cancellable"]
    assert api.post(f"/v1/tasks/{second.json()['id']}/cancel").status_code == 200
    go_on.set()
    assert ended(api, second)["state"] == "cancelled"
    assert ended(api, first)["state"] == "succeeded"
    assert api.get("/v1/indexes/news/snapshots").json()["snapshots"] == []


def test_deleting_waits_for_those_who_use_it(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(api)
    api.post("/v1/indexes/news/documents", json=BODY)
    entered, go_on = threading.Event(), threading.Event()
    source = api.app.state.service.catalog.all()[0].engine.source.collection  # type: ignore[attr-defined]
    search = source.search

    def slow(*args: Any, **named: Any) -> Any:
        entered.set()
        go_on.wait(10)
        return search(*args, **named)

    monkeypatch.setattr(source, "search", slow)
    answers: list[Any] = []
    body = {"query": "super bowl"}
    searching = threading.Thread(
        target=lambda: answers.append(api.post("/v1/indexes/news/search", json=body))
    )
    deleting = threading.Thread(target=lambda: answers.append(api.delete("/v1/indexes/news")))
    searching.start()
    assert entered.wait(5)
    deleting.start()
    while api.get("/v1/indexes/news").status_code != 404:
        time.sleep(0.01)
    assert problem(api.post("/v1/indexes", json={"name": "news", "vocabulary": 3}), 409)
    assert deleting.is_alive()
    go_on.set()
    searching.join()
    deleting.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["hits"][0]["doc_id"] == "bowl"
    make(api)


def test_a_damaged_collection_leaves_the_others_alone(data: Path, encoder_path: Path) -> None:
    with service(data, encoder_path) as api:
        make(api)
        make(api, "other")
    (data / "collections" / "news" / "vocabulary.json").write_text("[]")
    (data / "collections" / ".half.tmp").mkdir()
    with service(data, encoder_path) as api:
        listed = api.get("/v1/indexes").json()
        assert [i["name"] for i in listed["indexes"]] == ["other"]
        assert [(u["name"], u["code"]) for u in listed["unavailable"]] == [
            ("news", "artifact_corrupted")
        ]
        refused = problem(api.post("/v1/indexes/news/search", json={"query": "x"}), 503)
        assert refused["code"] == "index_unavailable"
        assert problem(api.post("/v1/indexes", json={"name": "news", "vocabulary": 3}), 409)
        assert api.delete("/v1/indexes/news").status_code == 200
        make(api)
    assert not (data / "collections" / ".half.tmp").exists()


def test_readers_see_what_the_writer_makes(data: Path, encoder_path: Path) -> None:
    with (
        service(data, encoder_path) as writer,
        service(data, encoder_path, read_only=True) as reader,
    ):
        assert problem(reader.get("/v1/indexes/news"), 404)
        make(writer)
        writer.post("/v1/indexes/news/documents", json=BODY)
        assert found(reader, "super bowl")[0] == "bowl"
        assert problem(reader.delete("/v1/indexes/news"), 422)
        assert problem(reader.post("/v1/indexes/news/documents", json=BODY), 422)
        writer.delete("/v1/indexes/news")
        assert problem(reader.get("/v1/indexes/news"), 404)
        make(writer)
        assert found(reader, "super bowl") == []
        assert reader.get("/v1/indexes").json()["indexes"][0]["n_documents"] == 0


def test_one_service_writes_to_a_data_folder(data: Path) -> None:
    folder = DataFolder(data, writable=True)
    with pytest.raises(CollectionLockedError):
        DataFolder(data, writable=True)
    DataFolder(data, writable=False).close()
    folder.close()
    DataFolder(data, writable=True).close()
    shutil.rmtree(data)


def test_tune_and_search_by_recall(
    data: Path, encoder_path: Path, pruned_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"query_cut": (1, 4), "heap_factor": (0.5, 1.0)}
    monkeypatch.setitem(tuning.GRIDS, "seismic", small)
    queries = ["super bowl", "new york", "normandy", {"network": 1.0}] * 6
    copied = Path(shutil.copytree(pruned_path, data.parent / "pruned"))
    settings = ServeSettings(
        threads=2,
        allowed_hosts=("testserver",),
        data=data,
        encoders=(f"words={encoder_path}",),
        access_log=False,
    )
    app = create_app(settings, [IndexSource("pruned", copied)])
    with TestClient(app, raise_server_exceptions=False) as api:
        make(api, config={"index": {"layout": {"kind": "seismic"}}})
        api.post("/v1/indexes/news/documents", json=BODY)
        search = {"query": "super bowl", "target_recall": 0.9}
        for name in ("news", "pruned"):
            refused = problem(api.post(f"/v1/indexes/{name}/search", json=search), 422)
            assert "not tuned" in refused["message"]
            assert api.get(f"/v1/indexes/{name}/stats").json()["tuning"] is None
        body = {"queries": queries, "recall": 0.9}
        task = ended(api, api.post("/v1/indexes/news/tune", json=body))
        assert task["state"] == "succeeded" and task["done"] == task["total"] == 4, task
        (target,) = task["result"]["targets"]
        assert target["recall"] >= 0.9 and target["n_documents"] == 5
        assert api.get("/v1/indexes/news/stats").json()["tuning"] == task["result"]
        answer = api.post("/v1/indexes/news/search", json=search).json()
        assert answer["params"] == target["params"] and answer["hits"][0]["doc_id"] == "bowl"
        more = {"documents": [{"doc_id": f"m{n}", "text": "super"} for n in range(6)]}
        api.post("/v1/indexes/news/documents", json=more)
        refused = problem(api.post("/v1/indexes/news/search", json=search), 422)
        assert "5 documents and has 11 now" in refused["message"]
        # Most of the postings of this one are gone: no parameters bring them back.
        task = ended(api, api.post("/v1/indexes/pruned/tune", json=body))
        assert task["state"] == "failed" and task["error"]["code"] == "check_failed"
        body["queries"] = [*queries, "  "]
        task = ended(api, api.post("/v1/indexes/news/tune", json=body))
        assert task["error"]["code"] == "query_invalid"


def test_a_tuning_is_cancelled(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    make(api, config={"index": {"layout": {"kind": "seismic"}}})
    api.post("/v1/indexes/news/documents", json=BODY)
    times, entered, go_on = tuning._times, threading.Event(), threading.Event()

    def slow(*args: Any, **named: Any) -> Any:
        entered.set()
        assert go_on.wait(10)
        return times(*args, **named)

    monkeypatch.setattr(tuning, "_times", slow)
    answer = api.post("/v1/indexes/news/tune", json={"queries": ["super bowl"] * 20})
    assert entered.wait(5)
    cancelled = api.post(f"/v1/tasks/{answer.json()['id']}/cancel").json()
    assert cancelled["state"] == "running"
    go_on.set()
    assert ended(api, answer)["state"] == "cancelled"
    assert api.get("/v1/indexes/news/stats").json()["tuning"] is None


def test_an_exact_layout_has_nothing_to_tune(client: TestClient) -> None:
    answer = client.post("/v1/indexes/toy/tune", json={"queries": ["super"] * 20})
    assert "nothing to tune" in problem(answer, 422)["message"]
