from __future__ import annotations

import numpy as np
import pytest

from eval.fusion import (
    WEIGHTS,
    best_weight,
    convex_combination,
    reciprocal_rank_fusion,
    weight_scores,
)
from eval.runs import RunTable
from indexing.fusion import Normalise, Ranked, fuse, min_max, reciprocal_ranks
from lsr.core.errors import ArgumentError
from lsr.core.records import ScoredDoc


def _run(**results: float) -> RunTable:
    return RunTable.from_scored(ScoredDoc("q", doc, score) for doc, score in results.items())


def test_reciprocal_ranks_are_summed() -> None:
    fused = reciprocal_rank_fusion([_run(a=9, b=8, c=7), _run(c=0.3, a=0.2)])
    docs, scores = fused.results("q")
    assert docs == ["a", "c", "b"]
    assert scores.tolist() == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62])


def test_scores_are_normalised_by_query_and_weighted() -> None:
    fused = convex_combination([_run(a=10, b=6, c=2), _run(c=3, d=1)], [0.75, 0.25])
    docs, scores = fused.results("q")
    assert dict(zip(docs, scores.tolist(), strict=True)) == pytest.approx(
        {"a": 0.75, "b": 0.375, "c": 0.25, "d": 0.0}
    )


def test_a_weight_of_one_keeps_a_runs_order() -> None:
    first, second = _run(a=3, b=2, c=1), _run(c=3, b=2, a=1)
    assert convex_combination([first, second], [1.0, 0.0]).results("q")[0] == ["a", "b", "c"]
    assert convex_combination([first, second], [0.0, 1.0]).results("q")[0] == ["c", "b", "a"]


def test_equal_scores_count_fully() -> None:
    fused = convex_combination([_run(a=2, b=2), _run(c=1)], [0.4, 0.6])
    docs, scores = fused.results("q")
    assert (docs, scores.tolist()) == (["c", "a", "b"], [0.6, 0.4, 0.4])


def test_a_query_of_one_run_only_is_kept() -> None:
    other = RunTable.from_scored([ScoredDoc("r", "x", 1.0)])
    assert reciprocal_rank_fusion([_run(a=1), other]).query_ids == ["q", "r"]


def test_depth_cuts_reading_and_writing() -> None:
    fused = reciprocal_rank_fusion([_run(a=3, b=2, c=1), _run(c=3, b=2, a=1)], depth=1)
    assert fused.results("q")[0] == ["a"]


def test_the_best_mean_weight_is_chosen() -> None:
    scores = weight_scores(
        _run(good=2, bad=1),
        _run(bad=2, good=1),
        lambda run: float(run.results("q")[0][0] == "good"),
    )
    assert best_weight([scores, scores]) == min(w for w in WEIGHTS if w > 0.5)
    # A collection where half that weight suffices cannot pull it down, one that needs more can.
    more = [float(w >= 0.8) for w in WEIGHTS]
    assert best_weight([scores, more]) == 0.8


@pytest.mark.parametrize("normalise", [min_max, reciprocal_ranks(7)])
def test_whole_runs_are_fused_as_hybrid_search_fuses_a_query(
    normalise: Normalise, rng: np.random.Generator
) -> None:
    runs = []
    for _ in range(2):
        docs = rng.permutation([f"d{n}" for n in range(60)])[:40]
        # Few distinct scores: ties within and between the runs.
        scores = rng.integers(1, 9, len(docs))
        pairs = zip(docs.tolist(), scores.tolist(), strict=True)
        runs.append(RunTable.from_scored(ScoredDoc("q", d, float(s)) for d, s in pairs))
    weights = [0.3, 0.7] if normalise is min_max else [1.0, 1.0]
    expected = fuse([Ranked(*run.results("q")) for run in runs], weights, normalise, 25)
    found = (
        convex_combination(runs, weights, depth=25)
        if normalise is min_max
        else reciprocal_rank_fusion(runs, k=7, depth=25)
    )
    docs_found, scores_found = found.results("q")
    assert docs_found == [fused.doc_id for fused in expected]
    assert scores_found.tolist() == [fused.score for fused in expected]


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6], [1.5, -0.5]])
def test_wrong_weights_are_errors(weights: list[float]) -> None:
    with pytest.raises(ArgumentError):
        convex_combination([_run(a=1), _run(a=1)], weights)


def test_one_run_cannot_be_fused() -> None:
    with pytest.raises(ArgumentError, match="two or more"):
        reciprocal_rank_fusion([_run(a=1)])
    with pytest.raises(ArgumentError, match="k must"):
        reciprocal_rank_fusion([_run(a=1), _run(a=1)], k=-1)
    with pytest.raises(ArgumentError, match="at least one"):
        best_weight([])
