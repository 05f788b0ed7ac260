from __future__ import annotations

import pytest

from eval.evaluate import EvalConfig, evaluate
from eval.reproduce import check_suite, judge
from eval.running import Skipped
from eval.suite import Expected, Suite
from tests.helpers.evaluation import SmallDataset, fit_lexical


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (0.50, "OK"),
        (0.505, "OK"),
        (0.495, "OK"),
        (0.5051, "close"),
        (0.48, "close"),
        (0.479, "FAIL"),
    ],
)
def test_the_verdict_depends_on_the_distance(found: float, verdict: str) -> None:
    expected = Expected(collection="c", system="s", value=0.5, tolerance=0.005, close=4)
    assert judge(found, expected) == verdict


def test_a_figure_to_the_fourth_digit() -> None:
    expected = Expected(collection="c", system="s", value=0.5058, tolerance=0.00005)
    assert judge(0.50584999, expected) == "OK"
    assert judge(0.5059, expected) == "close"


def test_every_expected_figure_gets_a_line() -> None:
    pytest.importorskip("ir_measures")
    result = evaluate(fit_lexical(), SmallDataset("c"), EvalConfig(measures=("RR@10",)))
    suite = Suite.model_validate(
        {
            "name": "s",
            "collections": [{"name": "c", "source": "c"}],
            "systems": [
                {"name": "a", "kind": "lucene-bm25"},
                {"name": "b", "kind": "lucene-bm25"},
            ],
            "expected": [
                {"collection": "c", "system": "a", "measure": "RR@10", "value": 0.625},
                {"collection": "c", "system": "a", "measure": "AP", "value": 0.5},
                {"collection": "c", "system": "b", "value": 0.5, "source": "a paper"},
            ],
        }
    )
    checks = check_suite(
        suite,
        [result.model_copy(update={"system": "a"})],
        [Skipped("b", "c", "no Java")],
    )
    assert [c.verdict for c in checks] == ["OK", "FAIL", "skipped"]
    assert checks[0].found == 0.625
    assert "AP" in checks[1].reason
    assert (checks[2].reason, checks[2].source) == ("no Java", "a paper")
