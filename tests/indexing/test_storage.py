"""An index folder holds all a search needs, and says what is wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from indexing.build import build_index
from indexing.config import IndexConfig
from indexing.exact import ExactIndex
from indexing.storage import IndexFolder, load_index
from lsr.core.config import load_config
from lsr.core.errors import (
    ArtifactCorruptedError,
    ArtifactExistsError,
    ArtifactFormatError,
    ArtifactNotFoundError,
    DataError,
)
from lsr.core.records import Document
from lsr.data.vectors import open_vectors


@pytest.fixture
def built(vectors: Path, tmp_path: Path, corpus: list[Document]) -> Path:
    build_index(vectors, tmp_path / "index", corpus=corpus, n_threads=2).close()
    return tmp_path / "index"


def test_folder_needs_nothing_else(vectors: Path, built: Path, corpus: list[Document]) -> None:
    matrix = open_vectors(vectors).matrix()
    fingerprint = open_vectors(vectors).vocabulary.fingerprint
    shutil.rmtree(vectors)
    with load_index(built) as folder:
        assert folder.layout == "exact"
        assert folder.n_documents == folder.index.n_documents == 30
        assert list(folder.doc_ids) == [document.doc_id for document in corpus]
        assert folder.vocabulary.fingerprint == fingerprint
        assert folder.manifest.details["vocabulary_fingerprint"] == fingerprint
        assert folder.manifest.details["idf"] == "query"
        assert folder.manifest.config["layout"]["kind"] == "exact"
        assert folder.query_encoder_path is not None
        assert (folder.query_encoder_path / "lsr_encoder.json").is_file()
        assert folder.documents is not None
        assert folder.documents.get("doc-7") == corpus[7]
        assert folder.verify() == []
        expected = ExactIndex.from_matrix(matrix).search_batch(matrix, 5)
        found = folder.index.search_batch(matrix, 5)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_without_corpus_there_are_no_documents(vectors: Path, tmp_path: Path) -> None:
    with build_index(vectors, tmp_path / "index") as folder:
        assert folder.documents is None
        assert folder.manifest.details["has_documents"] is False


def test_opening_reads_no_array(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an array was read")

    monkeypatch.setattr(np, "load", refuse)
    with IndexFolder.open(built) as folder:
        assert folder.n_documents == 30


def test_missing_document_leaves_nothing_behind(
    vectors: Path, tmp_path: Path, corpus: list[Document]
) -> None:
    with pytest.raises(DataError, match="lacks 1 of the index's 30 documents"):
        build_index(vectors, tmp_path / "index", corpus=corpus[:-1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["side", "vectors"]


def test_taken_path(vectors: Path, built: Path) -> None:
    with pytest.raises(ArtifactExistsError, match="--overwrite"):
        build_index(vectors, built)
    with build_index(vectors, built, overwrite=True) as folder:
        assert folder.documents is None


def test_not_an_index(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFoundError, match="no such folder"):
        IndexFolder.open(tmp_path / "nothing")
    with pytest.raises(ArtifactFormatError, match="holds 'vectors', not 'index'"):
        IndexFolder.open(vectors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "index format 99; this release reads 1"),
        ({"details": {"layout": "quantum"}}, "knows no index layout 'quantum'"),
    ],
)
def test_formats_of_other_releases(built: Path, change: dict[str, object], message: str) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    (built / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ArtifactFormatError, match=message):
        IndexFolder.open(built)


@pytest.mark.parametrize("name", ["weights.npy", "ids.data.npy", "documents.sqlite"])
def test_damage(built: Path, name: str) -> None:
    file = built / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    # A changed byte does not show in the size; only verify reads it.
    with IndexFolder.open(built) as folder:
        assert folder.verify() == [f"{name}: checksum differs"]
    file.write_bytes(whole[:-1])
    with pytest.raises(ArtifactCorruptedError, match=f"{name} has .* it was truncated"):
        IndexFolder.open(built)
    file.unlink()
    with pytest.raises(ArtifactCorruptedError, match=f"{name} is missing"):
        IndexFolder.open(built)


@pytest.mark.parametrize("layout", ["clustered", "exact", "seismic"])
def test_every_layout_is_built_opened_and_searched(
    vectors: Path, tmp_path: Path, layout: str
) -> None:
    matrix = open_vectors(vectors).matrix()
    config = load_config(IndexConfig, None, [f"layout.kind={layout}"])
    with build_index(vectors, tmp_path / "index", config) as folder:
        assert folder.layout == folder.index.kind == layout
        assert folder.verify() == []
        assert sum(folder.index.bytes_by_part().values()) > 0
        # A document finds itself first: its own weights make the largest of its products.
        heaviest = int(np.argmax([row.dot(row) for row in matrix]))
        found = folder.index.search(matrix.row(heaviest), 3)
        assert found.rows[0] == heaviest
        assert found.scores[0] == pytest.approx(
            matrix.row(heaviest).dot(matrix.row(heaviest)), rel=2e-3
        )
