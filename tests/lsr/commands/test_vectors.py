from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lsr.commands import vectors
from lsr.core.errors import (
    ArgumentError,
    ArtifactExistsError,
    ArtifactNotFoundError,
    LsrError,
    WeightRecordError,
)
from lsr.core.vocabulary import Vocabulary
from tests.helpers.files import write_jsonl, write_lines


def run(*arguments: str | Path) -> str:
    """Return what a verb prints on standard output; its errors are raised."""
    app = typer.Typer()
    vectors.register(app)
    result = CliRunner().invoke(app, ["vectors", *map(str, arguments)])
    if isinstance(result.exception, LsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str | Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return answer


def test_in_out_and_in_again(tmp_path: Path) -> None:
    records = [{"id": "a", "vector": {"x": 1.5, "y": 0.1}}, {"id": "b", "vector": {"y": 2.0}}]
    source = write_jsonl(tmp_path / "v.jsonl.gz", records)
    flags = ["--encoder", "mine", "--idf", "document"]
    answer = run_json("import", source, "--out", tmp_path / "v", *flags)
    assert answer["n_documents"] == 2
    assert answer["nnz"] == 3
    assert answer["terms_per_document"] == 1.5
    assert (answer["encoder"], answer["idf"]) == ("mine", "document")
    assert run_json("info", tmp_path / "v")["vocabulary_size"] == 2
    assert "mine (idf: document)" in run("info", tmp_path / "v")
    run("export", tmp_path / "v", "--out", tmp_path / "w.jsonl")
    lines = (tmp_path / "w.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    with pytest.raises(ArtifactExistsError):
        run("export", tmp_path / "v", "--out", tmp_path / "w.jsonl")
    run("export", tmp_path / "v", "--out", tmp_path / "w.jsonl", "--overwrite")
    again = run_json("import", tmp_path / "w.jsonl", "--out", tmp_path / "again")
    assert (again["encoder"], again["idf"]) == ("mine", "document")


def test_other_formats_by_name(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "v.jsonl", [{"id": "a", "vector": {"x": 1.5, "y": 0.1}}])
    run("import", source, "--out", tmp_path / "v")
    out = tmp_path / "w.jsonl"
    flags = ["--format", "anserini", "--scale", "10", "--out", out]
    answer = run_json("export", tmp_path / "v", *flags)
    assert (answer["format"], answer["scale"], answer["nnz"]) == ("anserini", 10.0, 2)
    assert json.loads(out.read_text()) == {"id": "a", "contents": "", "vector": {"x": 15, "y": 1}}
    with pytest.raises(ArgumentError, match="Unknown format 'lucene'"):
        run("export", tmp_path / "v", "--format", "lucene", "--out", tmp_path / "u")


def test_bad_weights_are_errors_or_skipped_and_reported(tmp_path: Path) -> None:
    source = write_lines(
        tmp_path / "v.jsonl", ['{"id": 1, "vector": {"x": NaN}}', '{"id": 2, "vector": {"x": 1}}']
    )
    with pytest.raises(WeightRecordError, match="line 1: The weight of 'x' is nan"):
        run("import", source, "--out", tmp_path / "v")
    answer = run_json("import", source, "--out", tmp_path / "v", "--skip-bad-lines", "1")
    assert answer["n_documents"] == 1
    assert answer["bad_lines"]["examples"][0]["code"] == "weight_invalid"


def test_a_given_vocabulary_is_used(tmp_path: Path) -> None:
    Vocabulary(["y", "x", "z"]).save(tmp_path / "vocabulary.json")
    source = write_jsonl(tmp_path / "v.jsonl", [{"id": 1, "vector": {"x": 1}}])
    flags = ["--vocabulary", tmp_path / "vocabulary.json"]
    answer = run_json("import", source, "--out", tmp_path / "v", *flags)
    assert answer["vocabulary_size"] == 3


def test_wrong_use(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "v.jsonl", [{"id": 1, "vector": {"x": 1}}])
    with pytest.raises(ArgumentError, match="idf must be query, document or none, got 'both'"):
        run("import", source, "--out", tmp_path / "v", "--idf", "both")
    with pytest.raises(ArtifactNotFoundError):
        run("info", tmp_path / "none")
