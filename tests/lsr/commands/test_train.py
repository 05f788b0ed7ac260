from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")

from lsr.commands import train
from lsr.core.errors import ConfigError, LsrError, ModelFormatError
from tests.helpers.files import write_lines
from tests.helpers.tiny_model import TEXTS, tiny_masked_lm


def run(*arguments: str | Path) -> dict[str, Any]:
    app = typer.Typer()
    train.register(app)
    result = CliRunner().invoke(app, [*map(str, arguments), "--json", "--quiet"])
    if isinstance(result.exception, LsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    tiny_masked_lm(tmp_path / "tiny")
    lines = [{"query": t.split()[0], "positive": t * 2, "source": "s"} for t in TEXTS]
    write_lines(tmp_path / "pairs.jsonl", [json.dumps(line) for line in lines])
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "small"\nsteps = 2\nbatch_queries = 4\nlog_every = 1\n'
        f'[data]\npairs = ["{tmp_path / "pairs.jsonl"}"]\nmax_document_tokens = 32\n'
        f'n_held_out = 0\n[model]\nbackbone = "{tmp_path / "tiny"}"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(TEXTS)]
    write_lines(folder / "corpus.jsonl", [json.dumps(d) for d in documents])
    write_lines(folder / "queries.jsonl", [json.dumps({"_id": "q", "text": "warm cat dog"})])
    write_lines(folder / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", "q\td4\t1"])
    return folder


def test_one_command_trains_evaluates_and_saves(
    recipe: Path, collection: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ir_measures")
    answer = run(recipe, "--out", tmp_path / "run", "--evaluate", collection, "--device", "cpu")
    assert answer["finished"]
    assert answer["recipe"] == "small"
    assert 0 <= answer["last"]["set/nDCG@10"] <= 1
    assert answer["last"]["set/doc_terms"] > 0
    assert (tmp_path / "run" / "model" / "README.md").is_file()


def test_stages_and_time(recipe: Path, tmp_path: Path) -> None:
    answer = run(recipe, "-o", tmp_path / "run", "--stage", "tokenise", "--device", "cpu")
    assert answer["finished"]
    assert not (tmp_path / "run" / "checkpoint").exists()
    answer = run(recipe, "-o", tmp_path / "run", "--minutes", "0.01", "--set", "steps=100000",
                 "--device", "cpu")  # fmt: skip
    assert not answer["finished"]


def test_errors_say_what_to_do(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_querie: unknown key\. Did you mean"):
        run(recipe, "-o", tmp_path / "run", "--set", "batch_querie=3")
    with pytest.raises(ConfigError, match="none of this name ships"):
        run("lsr-maxi", "-o", tmp_path / "run")
    with pytest.raises(ModelFormatError, match="No model folder 'nowhere'"):
        run(recipe, "-o", tmp_path / "run", "--set", "model.backbone=nowhere", "--device", "cpu")
