from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.evaluate import EvalConfig, evaluate
from eval.explanations import explain_extremes
from eval.reporting import collect_results, collect_suite, load_sweep, write_report
from eval.running import Runner
from eval.suite import Suite
from eval.workbench import BenchOptions
from lsr.core.errors import ArgumentError, ArtifactFormatError, DataError
from tests.helpers.evaluation import SmallDataset, fit_lexical, write_beir

pytest.importorskip("ir_measures")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    from lsr.core.settings import get_settings

    data = write_beir(tmp_path / "data", "one")
    (data / "runs.trec").write_text("q1 Q0 d6 1 1.0 x\nq2 Q0 d3 1 1.0 x\nd5 Q0 d1 1 1.0 x\n")
    monkeypatch.setenv("LSR_DATA", str(tmp_path / "data"))
    get_settings.cache_clear()
    suite = Suite.model_validate(
        {
            "name": "mini",
            "about": "a <small> suite",
            "baseline": "stored",
            "collections": [{"name": "one", "source": "one", "about": "mixed CASE kept"}],
            "systems": [
                {"name": "stored", "kind": "run", "runs": {"one": "runs.trec"}},
                {"name": "lexical", "kind": "sparse", "encoder": "lexical"},
                {"name": "absent", "kind": "sparse", "encoder": "no-such-model"},
            ],
            "expected": [
                {"collection": "one", "system": "lexical", "measure": "RR@10", "value": 0.625}
            ],
        }
    )
    options = BenchOptions(cache=tmp_path / "cache", n_threads=1, timing=False)
    yield Runner(suite, options, command="lsr eval report mini")
    get_settings.cache_clear()


class _Balanced(HTMLParser):
    """Fails on tags that do not close in order."""

    VOID = frozenset({"meta", "br", "img", "link", "path", "use", "rect", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def test_a_report_is_whole_and_needs_nothing_else(runner: Runner, tmp_path: Path) -> None:
    command = "lsr eval report mini --out report"
    parts = collect_suite(runner, explain=("lexical",), command=command)
    files = write_report(parts, tmp_path / "report")
    assert [f.name for f in files] == [
        "report.html", "report.md", "results.json", "scores.svg", "per-query.json.gz"
    ]  # fmt: skip
    page = files[0].read_text()
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    texts = " ".join(parser.text)
    for wanted in (
        "a <small> suite", "OK", command, "lsr eval report mini -c one -s lexical", "no-such-model", "nDCG@10 by collection", "Mixed CASE kept",
        "warm cat", "The document lacks",
    ):  # fmt: skip
        assert wanted in texts, wanted
    for foreign in ("http://", "https://", "src=", "<script"):
        assert foreign not in page.replace("http://www.w3.org", "").replace(
            "http://purl.org", ""
        ).replace("http://creativecommons.org", "").replace("https://matplotlib.org", "")
    text = files[1].read_text()
    assert "| stored |" in text and "± 0.0005 | 0.6250 | OK |" in text
    assert f"- everything: `{command}`" in text
    assert "![scores](scores.svg)" in text
    document = json.loads(files[2].read_text())
    assert {r["system"] for r in document["results"]} == {"stored", "lexical"}
    assert document["skipped"][0]["system"] == "absent"
    queries = json.loads(gzip.decompress(files[-1].read_bytes()))["one"]
    values = queries["systems"]["lexical"]["RR@10"]
    assert dict(zip(queries["query_ids"], values, strict=True))["q1"] == 1.0


def test_a_query_is_explained_by_what_it_found_and_what_it_should(runner: Runner) -> None:
    lexical, stored = (runner.result("one", name) for name in ("lexical", "stored"))
    (worst, *rest) = explain_extremes(runner, "one", "lexical", lexical, stored, "nDCG@10")
    assert (worst.query_id, worst.text) == ("d5", "mouse cat")
    assert worst.score < worst.baseline_score
    first, relevant = worst.documents
    assert (first.doc_id, first.rank, first.grade) == ("d5", 1, None)
    assert (relevant.doc_id, relevant.rank, relevant.grade) == ("d1", 2, 1)
    assert sum(t.contribution for t in first.terms) == pytest.approx(first.score)
    assert first.terms[0].share == 1.0
    assert "mous" in relevant.missing
    assert rest and all(q.score > q.baseline_score for q in rest)
    with pytest.raises(ArgumentError, match="no sparse system"):
        explain_extremes(runner, "one", "stored", stored, lexical, "nDCG@10")


def test_results_in_files_are_reported_too(tmp_path: Path) -> None:
    result = evaluate(fit_lexical(), SmallDataset(), EvalConfig())
    for name in ("a", "b"):
        result.model_copy(update={"system": name}).save(tmp_path / f"{name}.json")
    parts = collect_results([tmp_path / "a.json", tmp_path / "b.json"], baseline="b")
    # Four of quality; nothing is tested about the share of judged results.
    assert [(c.system, c.measure) for c in parts.comparisons] == [
        ("a", m) for m in ("nDCG@10", "RR@10", "R@100", "R@1000")
    ]
    files = write_report(parts, tmp_path / "report")
    assert "small" in files[0].read_text()
    with pytest.raises(ArgumentError, match="Did you mean 'a'"):
        collect_results([tmp_path / "a.json"], baseline="aa")


def test_a_missing_usual_baseline_is_replaced_and_named(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    cut = runner.suite.model_copy(
        update={"systems": runner.suite.systems[1:], "baseline": "absent", "expected": ()}
    )
    parts = collect_suite(Runner(cut, runner.options))
    assert parts.baseline == "lexical"
    nothing = cut.model_copy(update={"systems": cut.systems[1:]})
    with pytest.raises(ArgumentError, match="Nothing of the suite"):
        collect_suite(Runner(nothing, runner.options))


def test_curves_are_read_back_or_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No file"):
        load_sweep(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ArtifactFormatError, match="no curve"):
        load_sweep(tmp_path / "x.json")
