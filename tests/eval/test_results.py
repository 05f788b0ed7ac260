from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.evaluate import EvalConfig, evaluate
from eval.report import COST_COLUMNS, cost_cells, markdown_report
from eval.results import load_results
from lsr.core.errors import ArtifactCorruptedError, ArtifactFormatError, ArtifactNotFoundError
from tests.helpers.evaluation import SmallDataset, fit_lexical

pytest.importorskip("ir_measures")


def test_results_survive_a_file(tmp_path: Path) -> None:
    made = evaluate(fit_lexical(), SmallDataset(), EvalConfig(timing=True, n_runs=1))
    made.save(tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == made


def test_what_is_not_results_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(ArtifactNotFoundError):
        load_results(file)
    file.write_text("{")
    with pytest.raises(ArtifactCorruptedError):
        load_results(file)
    for other in ('{"manifest": {"kind": "index", "format_version": 1}}', "[]", "{}"):
        file.write_text(other)
        with pytest.raises(ArtifactFormatError):
            load_results(file)
    file.write_text(json.dumps({"manifest": {"kind": "results", "format_version": 1}}))
    with pytest.raises(ArtifactCorruptedError):
        load_results(file)


def test_the_markdown_report_has_scores_costs_and_commands() -> None:
    made = evaluate(fit_lexical(), SmallDataset()).model_copy(update={"command": "lsr eval run x"})
    text = markdown_report([made, made.model_copy(update={"system": "other"})])
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables[0].startswith("| system | nDCG@10 | RR@10 |")
    assert tables[2].startswith("| lexical · exact | 0.")
    assert tables[4].startswith("| system | terms/doc |")
    assert len({line.count("|") for line in tables[:4]}) == 1
    assert len({line.count("|") for line in tables[4:]}) == 1
    assert "µs mean" not in text, "what was not measured has no column"
    assert "`lsr eval run x`" in text
    assert "4 judged queries" in text
    assert made.manifest.machine.processor in text


def test_costs_that_were_not_measured_are_empty() -> None:
    made = evaluate(fit_lexical(), SmallDataset())
    cells = dict(zip(COST_COLUMNS, cost_cells(made), strict=True))
    assert cells["µs mean"] == cells["queries/s"] == cells["anonymous"] == ""
    assert cells["index"].endswith("B")
