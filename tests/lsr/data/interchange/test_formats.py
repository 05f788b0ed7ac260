from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsr.core.errors import ArgumentError, DataError, WeightRecordError
from lsr.core.records import Document
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines
from lsr.data.interchange import (
    FORMATS,
    export_vectors,
    import_vectors,
    require_format,
    to_impacts,
)
from lsr.data.interchange.sidecar import read_sidecar, sidecar_path
from lsr.data.vector_jsonl import iter_rows
from lsr.data.vectors import VectorCollection
from tests.helpers.files import write_jsonl, write_lines

SUFFIX = {
    "ciff": "c.ciff",
    "csr": "c.csr",
    "topics": "c.tsv",
    "lsr-benchmark": "doc-embeddings.npz",
}


def name_of(form: str) -> str:
    return SUFFIX.get(form, "c.jsonl")


@pytest.mark.parametrize("form", FORMATS)
def test_out_and_in_again(tmp_path: Path, collection: VectorCollection, form: str) -> None:
    if form == "ciff":
        pytest.importorskip("google.protobuf")
    path = tmp_path / name_of(form)
    chosen = require_format(form)
    sidecar = export_vectors(collection, path, chosen)
    again = import_vectors(path, tmp_path / "again", chosen, vocabulary=collection.vocabulary)
    expected = list(iter_rows(collection))
    if sidecar.scale is not None:
        expected = [(i, to_impacts(row, sidecar.scale)) for i, row in expected]
    assert list(iter_rows(again)) == expected
    assert sidecar.nnz == again.nnz
    assert again.manifest.details["encoder"] == "tiny"
    assert again.manifest.details["idf"] == "query"
    assert again.manifest.config["scale"] == sidecar.scale
    fingerprint = collection.manifest.details["vocabulary_fingerprint"]
    assert again.manifest.details["vocabulary_fingerprint"] == fingerprint


@pytest.mark.parametrize("form", ["jsonl", "topics", "ciff"])
def test_without_a_vocabulary_the_used_tokens_are_it(
    tmp_path: Path, collection: VectorCollection, form: str
) -> None:
    if form == "ciff":
        pytest.importorskip("google.protobuf")
    path = tmp_path / name_of(form)
    export_vectors(collection, path, require_format(form))
    again = import_vectors(path, tmp_path / "again", require_format(form))
    # The last token is in no document.
    used = sorted(collection.vocabulary.tokens[:-1], key=lambda t: t.encode())
    assert list(again.vocabulary.tokens) == used


def test_the_sidecar_says_what_the_file_cannot(
    tmp_path: Path, collection: VectorCollection
) -> None:
    path = tmp_path / "c.jsonl"
    written = export_vectors(collection, path, "anserini", scale=10)
    assert read_sidecar(path) == written
    assert (written.idf, written.encoder, written.scale) == ("query", "tiny", 10)
    with pytest.raises(ArgumentError, match="idf is given as 'none', but .* written with 'query'"):
        import_vectors(path, tmp_path / "again", "anserini", idf="none")
    assert import_vectors(path, tmp_path / "again", "anserini", idf="query").n_documents == 300
    sidecar_path(path).write_text("{}")
    with pytest.raises(DataError, match="is no description of an export"):
        import_vectors(path, tmp_path / "other", "anserini")
    sidecar_path(path).unlink()
    plain = import_vectors(path, tmp_path / "plain", "anserini")
    assert plain.manifest.details["idf"] == "none"
    assert plain.manifest.details["encoder"] == "imported"


def test_a_ciff_file_tells_without_its_sidecar(
    tmp_path: Path, collection: VectorCollection
) -> None:
    pytest.importorskip("google.protobuf")
    path = tmp_path / "c.ciff"
    export_vectors(collection, path, "ciff")
    sidecar_path(path).unlink()
    again = import_vectors(path, tmp_path / "again", "ciff")
    assert again.manifest.details["idf"] == "query"
    assert again.manifest.config["scale"] == 100


def test_skipped_lines_count_once_though_the_file_is_read_twice(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "v.jsonl",
        [
            '{"id": "1", "vector": {"a": 1.5}}',
            '{"id": "2", "vector": {"b": NaN}}',
            '{"id": "1", "vector": {"c": 1}}',
            '{"id": "4", "vector": {"c": 2.5}}',
        ],
    )
    bad = BadLines(2)
    made = import_vectors(path, tmp_path / "out", "jsonl", encoder="mine", idf="document", bad=bad)
    assert bad.n_skipped == 2
    assert list(made.doc_ids()) == ["1", "4"]
    assert made.vocabulary.tokens == ("a", "c")
    assert made.manifest.details["encoder"] == "mine"
    assert made.manifest.details["idf"] == "document"
    with pytest.raises(WeightRecordError):
        import_vectors(path, tmp_path / "other", "jsonl")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be(tmp_path: Path, collection: VectorCollection) -> None:
    with pytest.raises(ArgumentError, match="Unknown format 'cif'.* Did you mean 'ciff'"):
        require_format("cif")
    with pytest.raises(ArgumentError, match="keeps weights as they are"):
        export_vectors(collection, tmp_path / "c", "csr", scale=10)
    with pytest.raises(ArgumentError, match="'csr' holds no texts"):
        export_vectors(collection, tmp_path / "c", "csr", documents=[])
    with pytest.raises(ArgumentError, match="scale must be a number greater than 0, got 0"):
        export_vectors(collection, tmp_path / "c", "anserini", scale=0)
    with pytest.raises(DataError, match="becomes the impact .* more than 16777216"):
        export_vectors(collection, tmp_path / "c", "anserini", scale=1e9)
    with pytest.raises(ArgumentError, match="idf must be"):
        import_vectors(tmp_path / "c", tmp_path / "d", "jsonl", idf="both")
    path = write_jsonl(tmp_path / "v.jsonl", [{"id": 1, "vector": {}}])
    with pytest.raises(DataError, match="has no vector with a weight"):
        import_vectors(path, tmp_path / "d", "jsonl")
    assert not list(tmp_path.glob("*.tmp"))


def test_seismic_lines_hold_the_texts(tmp_path: Path, collection: VectorCollection) -> None:
    documents = [Document(i, f"text of {i}", "T") for i in collection.doc_ids()]
    path = tmp_path / "c.jsonl"
    export_vectors(collection, path, "seismic", documents=documents)
    first = json.loads(path.read_text().splitlines()[0])
    assert list(first) == ["id", "content", "vector"]
    assert first["content"] == "T text of doc 0"
    for wrong in (documents[1:], documents[:-1]):
        with pytest.raises(DataError, match="texts are not those of the vectors"):
            export_vectors(collection, path, "seismic", documents=wrong)


def test_tokens_that_lucene_would_split(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "v.jsonl", [{"id": "a", "vector": {"new york": 1}}])
    made = import_vectors(source, tmp_path / "v", "jsonl")
    for form in ("anserini", "topics"):
        with pytest.raises(DataError, match="'new york' of 'a' is empty or holds white space"):
            export_vectors(made, tmp_path / "out", require_format(form))
    assert not (tmp_path / "out").exists()


def test_impacts_round_and_drop(collection: VectorCollection) -> None:
    vector = next(row for _, row in iter_rows(collection))
    impacts = to_impacts(vector, 0.5)
    assert set(impacts.weights.tolist()) <= {1.0, 2.0}
    assert impacts.nnz < vector.nnz
    assert impacts.size == vector.size


def test_real_encoded_queries_come_in(shared_data: Path, tmp_path: Path) -> None:
    from lsr.data.fetch import unpack

    archive = shared_data / "splade_queries.tar.zst"
    if not archive.is_file():
        pytest.skip("splade_queries is not there")
    folder = unpack(archive, tmp_path / "queries")
    (path,) = folder.glob("topics.dl19*.tsv.gz")
    made = import_vectors(path, tmp_path / "dl19", "topics")
    assert made.n_documents == 43
    assert isinstance(made.vocabulary, Vocabulary)
    assert made.nnz > 43
