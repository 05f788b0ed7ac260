"""The dense half of an index: kept, loaded, held to its index, verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from indexing import commands, dense_folder
from indexing.build import build_index
from indexing.dense import DenseIndex, DenseKind
from indexing.dense_folder import DENSE_FOLDER, DenseFolder, add_dense
from indexing.storage import IndexFolder
from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    ArtifactExistsError,
    CheckFailedError,
)
from lsr.core.records import Document
from lsr.encoders.encode import encode_collection
from lsr.encoders.lexical import LexicalEncoder
from tests.helpers.dense import LetterEncoder

pytest.importorskip("faiss")

DOCUMENTS = [Document(f"d{n}", text) for n, text in enumerate(["abba", "cab", "dad", "zz", "bee"])]


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_folder, "DenseEncoder", LetterEncoder)
    monkeypatch.setattr("indexing.dense_encoder.DenseEncoder", LetterEncoder)
    monkeypatch.setattr(dense_folder, "_CHUNK", 2)


def build(path: Path, documents: list[Document], *, corpus: bool = True) -> Path:
    encoder = LexicalEncoder.fit(document.text for document in DOCUMENTS)
    encode_collection(encoder, documents, path / "vectors")
    build_index(path / "vectors", path / "index", corpus=documents if corpus else None).close()
    return path / "index"


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_is_kept_is_found_again(tmp_path: Path, kind: DenseKind) -> None:
    encoder = LetterEncoder(tmp_path)
    with IndexFolder.open(build(tmp_path, DOCUMENTS)) as folder:
        assert DenseFolder.of(folder) is None
        add_dense(folder, encoder, kind=kind)
        made = DenseFolder.of(folder)
        assert made is not None and made.encoder_name == "letters"
        vectors = encoder.encode([document.text for document in DOCUMENTS])
        queries = made.encoder.encode(["a cab", "bee"])
        found = made.index.search_batch(queries, 5)
        scores = queries @ vectors.T
        assert np.array_equal(found.rows, np.argsort(-scores, axis=1, kind="stable"))
        assert np.allclose(np.take_along_axis(scores, found.rows, axis=1), found.scores)
        assert np.allclose(made.index.vector(1), vectors[1])
        assert made.index.kind == kind and made.index.n_documents == 5
        with pytest.raises(ArtifactExistsError):
            add_dense(folder, encoder)
        add_dense(folder, encoder, overwrite=True)
        # The sparse half is as it was.
        assert folder.verify() == []


def test_it_belongs_to_its_index(tmp_path: Path) -> None:
    with IndexFolder.open(build(tmp_path / "a", DOCUMENTS)) as folder:
        add_dense(folder, LetterEncoder(tmp_path))
        source = folder.path / DENSE_FOLDER
        with IndexFolder.open(build(tmp_path / "b", DOCUMENTS[:3])) as other:
            shutil.copytree(source, other.path / DENSE_FOLDER)
            with pytest.raises(ArtifactCorruptedError, match="another index"):
                DenseFolder.of(other)
        (source / "dense.faiss").write_bytes(b"x")
        with pytest.raises(ArtifactCorruptedError, match="dense.faiss"):
            DenseFolder.of(folder)


def test_a_file_that_faiss_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "x.faiss").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactCorruptedError, match="x.faiss"):
        DenseIndex.load(tmp_path / "x.faiss", kind="flat")


def test_without_texts_there_is_nothing_to_encode(tmp_path: Path) -> None:
    with (
        IndexFolder.open(build(tmp_path, DOCUMENTS, corpus=False)) as folder,
        pytest.raises(ArgumentError, match="stores no documents"),
    ):
        add_dense(folder, LetterEncoder(tmp_path))


def test_commands(tmp_path: Path) -> None:
    app, run = typer.Typer(), CliRunner()
    commands.register(app)
    app.command("x")(lambda: None)
    index = build(tmp_path, DOCUMENTS)
    arguments = ["index", "dense", str(index), "--model", str(tmp_path), "-q"]
    made = json.loads(run.invoke(app, [*arguments, "--json"]).stdout)
    assert (made["encoder"], made["width"], made["n_documents"]) == ("letters", 26, 5)
    assert "5 vectors of 26 numbers" in run.invoke(app, [*arguments, "--overwrite"]).stdout
    assert "letters, 26 numbers a document (flat)" in run.invoke(
        app, ["index", "info", str(index)]
    ).stdout.replace("\n", " ")
    wrong = run.invoke(app, [*arguments, "--kind", "round"])
    assert isinstance(wrong.exception, ArgumentError)
    assert "OK" in run.invoke(app, ["index", "verify", str(index)]).stdout
    file = index / DENSE_FOLDER / "dense.faiss"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    damaged = run.invoke(app, ["index", "verify", str(index)])
    assert isinstance(damaged.exception, CheckFailedError)
    assert "dense/dense.faiss" in str(damaged.exception)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "\n".join(json.dumps({"_id": d.doc_id, "text": d.text}) for d in DOCUMENTS) + "\n"
    )
    build_it = ["index", "build", str(tmp_path / "vectors"), "--out", str(tmp_path / "second")]
    with_dense = [*build_it, "--dense", str(tmp_path), "--json", "-q"]
    assert isinstance(run.invoke(app, with_dense).exception, ArgumentError)
    built = run.invoke(app, [*with_dense, "--corpus", str(corpus)])
    assert json.loads(built.stdout)["dense"]["encoder"] == "letters", built.output
