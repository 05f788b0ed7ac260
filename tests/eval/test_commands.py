from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from eval import commands
from eval.commands_compare import parse_grid
from eval.reporting import load_sweep
from indexing import IndexConfig, build_index
from lsr.core.errors import ArgumentError, CheckFailedError, LsrError
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
        (["--encoder", "lexical", "--param", "max_blocks=3"], "pass --index"),
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


def _two_results(invoke: Invoke, folder: Path) -> list[Path]:
    data = write_beir(folder)
    files = []
    for name, run in (("good", "q1 Q0 d1 1 1 x\nq2 Q0 d3 1 1 x\n"), ("poor", "q1 Q0 d6 1 1 x\n")):
        (folder / f"{name}.trec").write_text(run)
        files.append(folder / f"{name}.json")
        made = invoke("run", data, "--run-file", folder / f"{name}.trec", "-o", files[-1], "-q")
        assert made.exit_code == 0, made.output
    return files


def test_compare_prints_differences_and_queries(invoke: Invoke, tmp_path: Path) -> None:
    files = _two_results(invoke, tmp_path)
    found = invoke("compare", *files, "-m", "nDCG@10", "--json", "-q", "--resamples", 99)
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    (line,) = document["comparisons"]
    assert (line["baseline"], line["system"]) == ("good.trec", "poor.trec")
    assert (line["wins"], line["ties"], line["losses"]) == (0, 2, 2)
    assert [d["query_id"] for d in document["queries"][0]["differences"]] == ["q2", "q1"]
    shown = invoke("compare", *files, "--baseline", "poor.trec", "-m", "nDCG@10", "-q")
    assert "good.trec query q2: 0.0000 → 1.0000 (+1.0000)" in shown.stdout
    wrong = invoke("compare", *files, "--test", "sign")
    assert isinstance(wrong.exception, LsrError)
    assert "test" in str(wrong.exception)


def test_report_of_files(invoke: Invoke, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    first, second = _two_results(invoke, tmp_path)
    out = tmp_path / "report"
    found = invoke("report", "--results", first, "--results", second, "--out", out, "--json", "-q")
    assert found.exit_code == 0, found.output
    assert [Path(f).name for f in json.loads(found.stdout)["files"]] == [
        "report.html",
        "report.md",
        "results.json",
        "scores.svg",
        "per-query.json.gz",
    ]
    assert "good.trec" in (out / "report.html").read_text()
    neither = invoke("report")
    assert isinstance(neither.exception, ArgumentError)


def _suite(folder: Path, value: float) -> Path:
    data = write_beir(folder, "mini")
    (data / "x.trec").write_text("q1 Q0 d1 1 1 x\nq2 Q0 d3 1 1 x\n")
    file = folder / "suite.toml"
    file.write_text(
        f"""
name = "mine"
[[collections]]
name = "mini"
source = "{data}"
measures = ["RR@10"]
[[systems]]
name = "stored"
kind = "run"
runs = {{ mini = "x.trec" }}
[[systems]]
name = "absent"
kind = "dense"
encoder = "nowhere"
[[expected]]
collection = "mini"
system = "stored"
measure = "RR@10"
value = {value}
[[expected]]
collection = "mini"
system = "absent"
measure = "RR@10"
value = 1
"""
    )
    return file


def test_reproduce_says_ok_and_what_was_skipped(invoke: Invoke, tmp_path: Path) -> None:
    file = _suite(tmp_path, 0.5)
    found = invoke("reproduce", file, "--cache", tmp_path / "cache", "--json", "-q")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["ok"] is True
    assert [c["verdict"] for c in document["checks"]] == ["OK", "skipped"]
    assert "nowhere" in document["checks"][1]["reason"]
    strict = invoke("reproduce", file, "--cache", tmp_path / "cache", "--require-all", "-q")
    assert isinstance(strict.exception, CheckFailedError)


def test_reproduce_fails_with_exit_code_1(invoke: Invoke, tmp_path: Path) -> None:
    file = _suite(tmp_path, 0.6)
    found = invoke("reproduce", file, "--cache", tmp_path / "cache", "-q")
    assert isinstance(found.exception, CheckFailedError)
    assert found.exception.exit_status == 1
    assert "FAIL" in found.stdout
    nothing = invoke("reproduce", file, "-s", "absent", "--cache", tmp_path / "cache", "-q")
    assert isinstance(nothing.exception, LsrError)
    assert nothing.exception.exit_status == 3, "what was not checked is not OK"
    none = invoke("reproduce", "nanobeir", "-q")
    assert isinstance(none.exception, ArgumentError)
    assert "expects no figure" in str(none.exception)


def test_a_grid_is_read_as_numbers_and_words() -> None:
    grid = parse_grid(["a=.7,1,2.5", "b=auto,true"])
    assert grid == {"a": [0.7, 1, 2.5], "b": ["auto", True]}
    for wrong in (["a=1", "a=2"], ["a="]):
        with pytest.raises(ArgumentError):
            parse_grid(wrong)


def test_sweep_measures_a_grid_and_draws_it(invoke: Invoke, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    build_small_index(tmp_path)
    (tmp_path / "exact").symlink_to(tmp_path / "index")
    build_index(
        tmp_path / "vectors",
        tmp_path / "clustered",
        IndexConfig.model_validate({"layout": {"kind": "clustered"}}),
        n_threads=1,
    ).close()
    data = write_beir(tmp_path)
    out, plot = tmp_path / "sweep.json", tmp_path / "sweep.svg"
    for exact in ("vectors", "exact"):
        found = invoke(
            "sweep", tmp_path / "clustered", data, "--exact", tmp_path / exact, "--runs", 1,
            "-g", "max_blocks=1,50", "-g", "query_mass=1.0", "-o", out, "--plot", plot, "--json", "-q",
        )  # fmt: skip
        assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert [p["params"] for p in document["points"]] == [
        {"max_blocks": 1, "query_mass": 1.0},
        {"max_blocks": 50, "query_mass": 1.0},
    ]
    assert document["points"][1]["recall"] == 1.0
    assert load_sweep(out).layout == "clustered"
    assert plot.read_text().startswith("<svg")
    for grid in ("max_blocks", "max_block=1", "max_blocks="):
        wrong = invoke(
            "sweep", tmp_path / "clustered", data, "--exact", tmp_path / "vectors", "-g", grid
        )
        assert isinstance(wrong.exception, LsrError), grid
    wrong = invoke(
        "sweep",
        tmp_path / "clustered",
        data,
        "--exact",
        tmp_path / "clustered",
        "-g",
        "max_blocks=1",
    )
    assert "layout 'clustered'" in str(wrong.exception)
