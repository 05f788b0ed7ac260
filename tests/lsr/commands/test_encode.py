from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lsr.commands import encode
from lsr.core.errors import ArtifactExistsError, DuplicateIdError, EncoderNotFoundError, LsrError
from lsr.data.vectors import open_vectors
from lsr.encoders import Encoder, load_encoder
from tests.helpers.files import write_lines
from tests.helpers.tiny_model import tiny_masked_lm

TEXTS = {"d1": "the cat sat on the mat", "d2": "dogs chase cats", "d3": "a river of stone"}


def run(*arguments: str | Path) -> dict[str, Any]:
    app = typer.Typer()
    encode.register(app)
    result = CliRunner().invoke(app, [*map(str, arguments), "--json", "--quiet"])
    if isinstance(result.exception, LsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_lines(
        folder / "corpus.jsonl",
        [json.dumps({"_id": i, "title": "", "text": t}) for i, t in TEXTS.items()],
    )
    write_lines(folder / "queries.jsonl", [json.dumps({"_id": "q1", "text": "cats on mats"})])
    (folder / "qrels").mkdir()
    write_lines(folder / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", "q1\td1\t1"])
    return folder


def test_a_corpus_and_its_queries(dataset: Path, tmp_path: Path) -> None:
    made = run(dataset, "--encoder", "lexical", "--out", tmp_path / "v")
    assert (made["n_texts"], made["side"], made["n_empty"]) == (3, "documents", 0)
    assert made["texts_per_s"] > 0
    collection = open_vectors(tmp_path / "v")
    assert list(collection.doc_ids()) == list(TEXTS)
    query_side = str(collection.query_encoder_path)
    queries = run(dataset, "-e", query_side, "--queries", "test", "-o", tmp_path / "q")
    assert (queries["n_texts"], queries["terms_per_text"]) == (1, 2.0)
    encoder = load_encoder(query_side)
    assert open_vectors(tmp_path / "q").matrix() == encoder.encode_queries(["cats on mats"])


def test_pruning_and_length_flags(dataset: Path, tmp_path: Path) -> None:
    masked_lm_path = tiny_masked_lm(tmp_path / "tiny")
    made = run(
        dataset, "-e", masked_lm_path, "-o", tmp_path / "v", "--device", "cpu",
        "--dtype", "float32", "--document-max-length", "5", "--max-active-dims", "4",
    )  # fmt: skip
    assert made["terms_per_text"] == 4.0
    manifest = open_vectors(tmp_path / "v").manifest
    assert manifest.config["max_active_dims"] == 4
    short = load_encoder(masked_lm_path, device="cpu", dtype="float32", document_max_length=5)
    assert isinstance(short, Encoder)
    expected = short.encode_documents([TEXTS["d1"]]).row(0).top(4)
    got = open_vectors(tmp_path / "v").matrix().row(0)
    np.testing.assert_array_equal(got.terms, expected.terms)
    np.testing.assert_allclose(got.weights, expected.weights, rtol=1e-5)


def test_errors_reach_the_command_line(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFoundError, match="Known names"):
        run(dataset, "--encoder", "lsr-huge", "--out", tmp_path / "v")
    run(dataset, "--out", tmp_path / "v")
    with pytest.raises(ArtifactExistsError):
        run(dataset, "--out", tmp_path / "v")
    assert run(dataset, "--out", tmp_path / "v", "--overwrite")["n_texts"] == 3
    with open(dataset / "corpus.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"_id": "d1", "text": "again"}\n')
    with pytest.raises((DuplicateIdError, LsrError), match="d1"):
        run(dataset, "--out", tmp_path / "w")
