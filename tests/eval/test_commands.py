from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from eval import commands
from lsr.core.errors import ArgumentError, LsrError
from lsr.core.trec import read_run
from tests.helpers.evaluation import build_small_index, write_beir

pytest.importorskip("ir_measures")

Invoke = Callable[..., Result]


@pytest.fixture
def invoke() -> Invoke:
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)

    def run(*args: object) -> Result:
        return CliRunner().invoke(app, ["eval", *(str(a) for a in args)])

    return run


def test_an_encoder_on_a_folder(invoke: Invoke, tmp_path: Path) -> None:
    data = write_beir(tmp_path)
    out, run, text = tmp_path / "r.json", tmp_path / "r.trec", tmp_path / "r.md"
    found = invoke(
        "run", data, "--encoder", "lexical", "--no-timing", "--json", "--quiet",
        "--out", out, "--run", run, "--markdown", text,
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    printed = json.loads(found.stdout)
    assert printed == json.loads(out.read_text())
    assert printed["measures"]["RR@10"] == pytest.approx(2.5 / 4)
    assert len(list(read_run(run))) > 3
    assert "| lexical · exact |" in text.read_text()

    again = invoke("run", data, "--run-file", run, "--json", "--quiet")
    assert json.loads(again.stdout)["measures"] == printed["measures"]


def test_an_index_on_a_folder(invoke: Invoke, tmp_path: Path) -> None:
    found = invoke(
        "run", write_beir(tmp_path), "--index", build_small_index(tmp_path), "-m", "P@1", "--quiet"
    )
    assert found.exit_code == 0, found.output
    assert "4 judged queries" in found.stdout
    assert "µs mean" in found.stdout


def test_a_run_file_by_qrels_alone(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "q.trec").write_text("q 0 d 1\n")
    (tmp_path / "r.trec").write_text("q Q0 d 1 2.5 x\n")
    found = invoke(
        "run", "--run-file", tmp_path / "r.trec", "--qrels", tmp_path / "q.trec", "--json", "-q"
    )
    assert json.loads(found.stdout)["measures"]["nDCG@10"] == 1.0


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ([], "what to evaluate"),
        (["--run-file", "a", "--encoder", "b"], "what to evaluate"),
        (["--run-file", "a"], "--qrels"),
        (["--encoder", "lexical", "-m", "nDGC@10"], "--qrels"),
    ],
)
def test_wrong_use_is_explained(invoke: Invoke, options: list[str], rule: str) -> None:
    found = invoke("run", *options)
    assert isinstance(found.exception, ArgumentError)
    assert rule in str(found.exception)


def test_unknown_measures_and_data_are_explained(invoke: Invoke, tmp_path: Path) -> None:
    data = write_beir(tmp_path)
    found = invoke("run", data, "--encoder", "lexical", "-m", "nDGC@10")
    assert isinstance(found.exception, ArgumentError)
    assert "nDCG" in str(found.exception)
    found = invoke("run", tmp_path / "nowhere", "--encoder", "lexical")
    assert isinstance(found.exception, LsrError)
    assert found.exception.exit_status == 3
