from __future__ import annotations

import pytest

from eval.results import Results
from eval.significance import Comparison
from eval.summary import overview
from lsr.core.manifest import Manifest


def _result(system: str, dataset: str, value: float, measure: str = "nDCG@10") -> Results:
    return Results(
        system=system, dataset=dataset, split="test", measures={measure: value}, n_queries=2,
        n_unanswered=0, k=10, per_query={measure: {"a": value, "b": value}},
        manifest=Manifest.new("results", 1),
    )  # fmt: skip


def _comparison(system: str, dataset: str, difference: float, p: float) -> Comparison:
    return Comparison(
        dataset=dataset, measure="nDCG@10", system=system, baseline="a", score=0, baseline_score=0,
        difference=difference, low=0, high=0, p=p, p_holm=p, wins=0, ties=0, losses=0, n_queries=2,
    )  # fmt: skip


def test_best_marks_and_average() -> None:
    results = [
        _result("a", "x", 0.2),
        _result("b", "x", 0.4),
        _result("a", "y", 0.5),
        _result("b", "y", 0.1),
    ]
    comparisons = [_comparison("b", "x", 0.2, 0.01), _comparison("b", "y", -0.4, 0.2)]
    table = overview(results, comparisons, baseline="a")
    assert table.columns == ["x", "y", "average"]
    assert [c.text for c in table.rows["b"]] == ["0.4000▲", "0.1000", "0.2500"]
    assert [c.best for c in table.rows["b"]] == [True, False, False]
    assert [c.value for c in table.rows["a"]] == pytest.approx([0.2, 0.5, 0.35])


def test_a_group_is_one_column_and_counts_once() -> None:
    results = [_result("a", "f1", 0.2), _result("a", "f2", 0.4), _result("a", "y", 0.9)]
    table = overview(
        results, [_comparison("a", "f1", 1, 0.001)], groups={"f1": "forums", "f2": "forums"}
    )
    assert table.columns == ["forums", "y", "average"]
    assert [c.value for c in table.rows["a"]] == pytest.approx([0.3, 0.9, 0.6])
    assert table.rows["a"][0].mark == ""


def test_no_average_over_different_columns() -> None:
    results = [_result("a", "x", 0.2), _result("a", "y", 0.4), _result("b", "x", 0.9)]
    table = overview(results, [])
    assert [c.value for c in table.rows["b"]] == [0.9, None, None]
    assert table.rows["b"][1].text == ""


def test_an_incomplete_group_has_no_mean() -> None:
    results = [_result("a", "f1", 0.2), _result("a", "f2", 0.4), _result("b", "f1", 0.9)]
    table = overview(results, [], groups={"f1": "forums", "f2": "forums"})
    assert table.columns == ["forums"]
    assert table.rows["b"][0].value is None
    assert not table.rows["a"][0].best


def test_collections_without_the_measure_are_left_out() -> None:
    table = overview([_result("a", "x", 0.2), _result("a", "y", 0.4, "RR@10")], [])
    assert table.columns == ["x"]
