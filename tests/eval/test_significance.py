from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_rel

from eval.evaluate import EvalConfig, evaluate_run
from eval.results import Results
from eval.runs import RunTable
from eval.significance import CompareConfig, compare, holm, mean_interval, query_differences
from eval.topics import Topics
from lsr.core.errors import ArgumentError, DataError

pytest.importorskip("ir_measures")


def _results(system: str, values: list[float], dataset: str = "d") -> Results:
    topics = Topics(dataset, "test", [], [], {f"q{n}": {"x": 1} for n in range(len(values))})
    empty = evaluate_run(
        RunTable.from_scored([]), topics, EvalConfig(measures=("RR@10",)), system=system
    )
    per_query = {"RR@10": {f"q{n}": v for n, v in enumerate(values)}}
    return empty.model_copy(
        update={"per_query": per_query, "measures": {"RR@10": float(np.mean(values))}}
    )


def test_holm_is_the_textbook_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_randomisation_test_is_exact_on_few_queries() -> None:
    a, b = [0.9, 0.8, 0.3, 0.7, 0.5, 0.1], [0.4, 0.6, 0.4, 0.2, 0.5, 0.05]
    difference = np.array(a) - np.array(b)
    # Every assignment of signs, counted by hand.
    sums = [abs(np.dot(s, difference)) for s in itertools.product((1, -1), repeat=6)]
    expected = np.mean([s >= abs(difference.sum()) - 1e-12 for s in sums])
    (found,) = compare([_results("base", b), _results("new", a)])
    assert found.p == pytest.approx(expected)
    assert (found.wins, found.ties, found.losses) == (4, 1, 1)
    assert found.difference == pytest.approx(difference.mean())
    assert found.baseline == "base"


@pytest.mark.parametrize("n", [13, 40, 700])
def test_random_swaps_agree_with_scipys_permutation_test(n: int) -> None:
    generator = np.random.default_rng(n)
    a, b = generator.random(n) + 0.7 / np.sqrt(n), generator.random(n)
    (found,) = compare([_results("b", b.tolist()), _results("a", a.tolist())])
    theirs = permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    # Two estimates of a share from 9,999 draws each: five standard errors.
    error = np.sqrt(2 * theirs.pvalue * (1 - theirs.pvalue) / 9999)
    assert found.p == pytest.approx(theirs.pvalue, abs=5 * error + 1e-4)
    assert 0.001 < found.p < 0.9


def test_the_t_test_is_scipys() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random(40).tolist(), generator.random(40).tolist()
    (found,) = compare([_results("b", b), _results("a", a)], config=CompareConfig(test="t"))
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue)


def test_correction_is_over_the_systems_of_one_collection_and_measure() -> None:
    generator = np.random.default_rng(1)
    base = generator.random(30)
    systems = [_results(f"s{n}", np.clip(base + n * 0.05, 0, 1).tolist()) for n in range(1, 4)]
    found = compare([_results("base", base.tolist()), *systems])
    assert [c.p_holm for c in found] == holm([c.p for c in found])
    assert all(c.p_holm >= c.p for c in found)


def test_identical_systems_do_not_differ() -> None:
    values = [0.1, 0.5, 0.9]
    (found,) = compare([_results("a", values), _results("b", values)])
    assert (found.p, found.difference, found.low, found.high) == (1.0, 0.0, 0.0, 0.0)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    config = CompareConfig(n_resamples=499, confidence=0.9)
    covered = 0
    for _ in range(100):
        low, high = mean_interval(generator.exponential(size=60), config)
        covered += low <= 1.0 <= high
    assert 78 <= covered <= 98


def test_a_seed_decides_the_figures() -> None:
    generator = np.random.default_rng(5)
    pair = [
        _results("a", generator.random(50).tolist()),
        _results("b", generator.random(50).tolist()),
    ]
    assert compare(pair) == compare(pair)


def test_worst_queries_come_first() -> None:
    rows = query_differences(
        _results("a", [0.0, 1.0, 0.5]), _results("b", [1.0, 0.2, 0.5]), "RR@10"
    )
    assert [row.query_id for row in rows] == ["q0", "q2", "q1"]
    assert rows[0].difference == -1.0


def test_what_cannot_be_compared_is_an_error() -> None:
    a, b = _results("a", [0.1, 0.2]), _results("b", [0.1, 0.2])
    with pytest.raises(ArgumentError, match="no results"):
        compare([])
    with pytest.raises(ArgumentError, match="nothing to compare"):
        compare([a])
    with pytest.raises(ArgumentError, match="'c'"):
        compare([a, b], baseline="c")
    with pytest.raises(ArgumentError, match="'AP'"):
        compare([a, b], measures=["AP"])
    with pytest.raises(DataError, match="twice"):
        compare([a, b, b])
    with pytest.raises(DataError, match="different queries"):
        compare([a, _results("c", [0.1, 0.2, 0.3])])
    with pytest.raises(DataError, match="t-test is undefined"):
        compare(
            [_results("x", [0.0, 0.0]), _results("y", [1.0, 1.0])], config=CompareConfig(test="t")
        )
