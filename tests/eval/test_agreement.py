from __future__ import annotations

from pathlib import Path

import pytest

from eval.agreement import check_agreements, same_top
from eval.running import Runner
from eval.runs import RunTable
from eval.suite import Suite
from eval.workbench import BenchOptions
from lsr.core.records import ScoredDoc
from tests.helpers.evaluation import write_beir


def _run(**scores: float) -> RunTable:
    return RunTable.from_scored(ScoredDoc("q", doc, score) for doc, score in scores.items())


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"a": 9, "b": 7, "c": 5, "d": 5}, True),
        ({"a": 9, "b": 7, "d": 5, "c": 5}, True),  # of equal last ones any
        ({"b": 9, "a": 7, "c": 5, "d": 5}, False),
        ({"a": 9, "e": 7, "c": 5, "d": 5}, False),
        ({"a": 9, "b": 8, "c": 5, "d": 5}, False),
        ({"a": 9, "b": 7, "c": 6, "d": 5}, False),
        ({"a": 9, "b": 7}, False),
    ],
)
def test_only_ties_at_the_end_may_differ(other: dict[str, float], same: bool) -> None:
    assert same_top(_run(a=9, b=7, c=5, d=5), _run(**other), "q", 3) == same


def test_a_list_that_ends_early_has_no_ties_to_choose_from() -> None:
    assert same_top(_run(a=9, b=7), _run(a=9, b=7), "q", 3)
    assert not same_top(_run(a=9, b=7), _run(a=9, c=7), "q", 3)
    assert same_top(_run(a=9), _run(a=9), "unanswered", 3)


def test_an_agreement_is_two_checks(tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    data = write_beir(tmp_path)
    (data / "a.trec").write_text("q1 Q0 d1 1 9.0 x\nq2 Q0 d3 1 1.0 x\n")
    (data / "b.trec").write_text("q1 Q0 d1 1 9.0 x\nq2 Q0 d4 1 1.0 x\n")
    runs = [
        {"name": name, "kind": "run", "runs": {"c": f"{file}.trec"}}
        for name, file in (("a", "a"), ("again", "a"), ("b", "b"))
    ]
    suite = Suite.model_validate(
        {
            "name": "s",
            "collections": [{"name": "c", "source": str(data)}],
            "systems": [*runs, {"name": "absent", "kind": "run", "runs": {"elsewhere": "x"}}],
            "agreements": [
                {"collection": "c", "system": "a", "other": name}
                for name in ("again", "b", "absent")
            ],
        }
    )
    checks = check_agreements(Runner(suite, BenchOptions(cache=tmp_path / "cache")))
    assert [c.verdict for c in checks] == ["OK", "OK", "FAIL", "FAIL", "skipped"]
    assert [c.measure for c in checks[:2]] == ["top 10", "nDCG@10"]
    assert (checks[2].found, checks[2].reason) == (0.75, "1 queries differ: q2")
    assert "no run for c" in checks[4].reason
    cut = suite.only((), ("a", "again"))
    assert [pair.other for pair in cut.agreements] == ["again"]
