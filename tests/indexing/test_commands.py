"""``lsr index`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from indexing import commands, tuning
from lsr.core.errors import ArtifactError, CheckFailedError, ConfigError

app = typer.Typer()
commands.register(app)
runner = CliRunner()


def run(*arguments: object) -> str:
    result = runner.invoke(app, ["index", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_build_info_verify(vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    built = json.loads(run("build", vectors, "--out", out, "--layout", "exact", "--json", "-q"))
    assert built["layout"] == "exact"
    assert built["n_documents"] == 30
    assert built["index_bytes"] == sum(built["bytes"].values())
    assert json.loads(run("info", out, "--json")) == built
    assert "documents" in run("info", out, "-q")
    assert json.loads(run("verify", out, "--json"))["problems"] == []
    assert run("verify", out).startswith("OK: ")


def test_corpus_is_stored(vectors: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"_id": f"doc-{n}", "title": "", "text": f"text {n}"}) for n in range(30)]
    corpus.write_text("\n".join(lines))
    run("build", vectors, "-o", tmp_path / "index", "--corpus", corpus, "--threads", 1, "-q")
    assert json.loads(run("info", tmp_path / "index", "--json"))["has_documents"] is True


def test_damaged_index(vectors: Path, tmp_path: Path) -> None:
    run("build", vectors, "-o", tmp_path / "index", "-q")
    file = tmp_path / "index" / "weights.npy"
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(CheckFailedError, match="weights.npy: checksum differs"):
        run("verify", tmp_path / "index")


def test_tune(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tuning.GRIDS, "seismic", {"query_cut": (2, 40)})
    out = tmp_path / "index"
    run("build", vectors, "-o", out, "--layout", "seismic", "-q")
    arguments = ["tune", out, "--queries", vectors, "--recall", 0.5]
    tuned = json.loads(run(*arguments, "--json"))
    assert tuned["targets"]["0.5"]["recall"] >= 0.5
    shown = run(*arguments, "-q", "--plot", tmp_path / "curve.svg")
    assert "0.5" in shown
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")


def test_wrong_use(vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    with pytest.raises(ConfigError, match="layout"):
        run("build", vectors, "-o", out, "--layout", "exakt")
    with pytest.raises(ConfigError, match="unknown key. Did you mean 'seed'"):
        run("build", vectors, "-o", out, "--set", "seeed=1")
    with pytest.raises(ArtifactError, match="No vectors at"):
        run("build", tmp_path / "none", "-o", out)
    assert not out.exists()
