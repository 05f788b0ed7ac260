"""``lsr index`` on live collections, as a user types it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from indexing import commands
from indexing.collection import Collection
from lsr.core.errors import ArgumentError, ArtifactExistsError, CheckFailedError, LsrError
from lsr.core.records import Document
from tests.helpers.live_model import memory_folder

Run = Callable[..., Any]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory: nothing here outlives the process, and syncs are slow."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        yield Path(folder)


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    commands.register(app)

    def call(*arguments: object, raises: type[LsrError] | None = None) -> Any:
        done = CliRunner().invoke(app, ["index", *map(str, arguments), "--json", "--quiet"])
        if raises is not None:
            assert isinstance(done.exception, raises), done.exception
            return done.exception
        if done.exception:
            raise done.exception
        return json.loads(done.stdout)

    return call


@pytest.fixture
def corpus_file(tmp_path: Path, corpus: list[Document]) -> Path:
    path = tmp_path / "corpus.jsonl"
    lines = [
        json.dumps({"_id": d.doc_id, "title": d.title, "text": d.text, "metadata": {"n": at}})
        for at, d in enumerate(corpus)
    ]
    path.write_text("\n".join(reversed(lines)) + "\n")
    return path


def test_from_vectors_to_a_snapshot_and_back(
    run: Run, tmp_path: Path, vectors: Path, corpus_file: Path
) -> None:
    live = tmp_path / "live"
    made = run(
        "create", live, "--vectors", vectors, "--corpus", corpus_file, "--set", "bulk_rows=12"
    )
    assert made["n_documents"] == 30
    assert [s["n_rows"] for s in made["segments"]] == [12, 12, 6]
    assert made["has_query_encoder"]
    assert made["fields"] == {"n": "number"}
    with Collection.open(live) as opened:
        assert list(opened.doc_ids()) == [f"doc-{n}" for n in range(30)]
        assert opened.document("doc-7") == Document("doc-7", "text of 7", "title 7", {"n": 7})
    assert run("remove", live, "doc-3", "nobody")["n_deleted"] == 1
    assert run("remove", live, "--filter", '{"range": {"n": {"lt": 10}}}')["n_deleted"] == 9
    assert run("info", live)["n_documents"] == 20
    assert run("add", live, "--vectors", vectors)["n_replaced"] == 20
    copy = tmp_path / "copy"
    assert run("snapshot", live, "--out", copy)["n_documents"] == 30
    assert run("remove", live, "doc-1")["n_deleted"] == 1
    merged = run("merge", live)
    assert [(s["n_rows"], s["n_alive"]) for s in merged["segments"]] == [(29, 29)]
    assert run("restore", copy, "--out", tmp_path / "back")["n_documents"] == 30
    assert run("verify", tmp_path / "back")["problems"] == []
    run("restore", copy, "--out", live, raises=ArtifactExistsError)


def test_verify_and_repair(run: Run, tmp_path: Path, vectors: Path) -> None:
    live = tmp_path / "live"
    run("create", live, "--vectors", vectors)
    assert run("repair", live) == {"path": str(live), "problems": [], "rebuilt": []}
    (segment,) = (live / "segments").iterdir()
    weights = segment / "weights.npy"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    error = run("verify", live, raises=CheckFailedError)
    assert "weights.npy" in str(error)
    assert error.exit_status == 1
    assert run("repair", live)["rebuilt"] == [segment.name]
    assert run("verify", live)["problems"] == []
    assert len(run("repair", live, "--all")["rebuilt"]) == 1


def test_an_empty_collection_knows_vocabulary_and_encoder(
    run: Run, tmp_path: Path, vectors: Path
) -> None:
    made = run("create", tmp_path / "live", "--vectors", vectors, "--empty")
    assert made["n_documents"] == 0
    assert made["encoder"] == "test"
    assert made["idf"] == "query"


def test_wrong_use(run: Run, tmp_path: Path, vectors: Path, corpus_file: Path) -> None:
    live = tmp_path / "live"
    run("create", live, "--vectors", vectors)
    run("remove", live, raises=ArgumentError)
    run("remove", live, "doc-1", "--filter", "{}", raises=ArgumentError)
    corpus_file.write_text(corpus_file.read_text().split("\n", 1)[0] + "\n")
    error = run("add", live, "--vectors", vectors, "--corpus", corpus_file, raises=LsrError)
    assert "lacks document 'doc-0'" in str(error)
    assert run("info", live)["n_documents"] == 30


def test_tables_are_for_people(tmp_path: Path, vectors: Path) -> None:
    app = typer.Typer()
    commands.register(app)
    live = str(tmp_path / "live")
    for arguments, words in (
        (["create", live, "--vectors", str(vectors)], "live collection"),
        (["info", live], "in segments"),
        (["verify", live], "as written"),
        (["repair", live], "All is well"),
        (["remove", live, "doc-1"], "Deleted 1"),
        (["add", live, "--vectors", str(vectors)], "Added 1, replaced 29"),
        (["snapshot", live, "--out", str(tmp_path / "copy")], "30 documents"),
    ):
        done = CliRunner().invoke(app, ["index", *arguments, "--quiet"])
        assert done.exit_code == 0, done.exception
        assert words in done.stdout
