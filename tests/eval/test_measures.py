from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.measures import (
    depth_of,
    group_qrels,
    measures_for,
    parse_measures,
    score_queries,
    summarise,
)
from eval.runs import RunTable
from lsr.core.errors import ArgumentError, DataError
from lsr.core.records import Qrel, ScoredDoc

ir_measures = pytest.importorskip("ir_measures")
pytrec_eval = pytest.importorskip("pytrec_eval")


def test_names_are_parsed_in_order_and_once() -> None:
    parsed = parse_measures(["RR@10", "nDCG@10", "MRR@10", "R(rel=2)@100"])
    assert [str(m) for m in parsed] == ["RR@10", "nDCG@10", "R(rel=2)@100"]


def test_every_unknown_name_is_reported_with_near_names() -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_measures(["nDCG@10", "nDGC@10", "R", "RR@"])
    assert "nDGC" in str(caught.value)
    assert "Did you mean 'nDCG'" in str(caught.value)
    assert "'R'" in str(caught.value)
    assert "'RR@'" in str(caught.value)


def test_no_measure_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="No measure"):
        parse_measures([])


def test_depth_is_the_deepest_cutoff_or_all() -> None:
    assert depth_of(parse_measures(["nDCG@10", "R@100"])) == 100
    assert depth_of(parse_measures(["nDCG@10", "AP"])) is None


@pytest.mark.parametrize(
    ("dataset", "split", "binary"),
    [
        ("msmarco_dl19_dl20_pool", "dl20", "RR(rel=2)@10"),
        ("msmarco-passage/trec-dl-2019/judged", "test", "RR(rel=2)@10"),
        ("nfcorpus", "test", "RR@10"),
        ("msmarco", "dev", "RR@10"),
    ],
)
def test_deep_learning_tracks_are_binary_from_grade_2(
    dataset: str, split: str, binary: str
) -> None:
    assert measures_for(dataset, split)[1] == binary


def test_contradicting_judgements_are_an_error() -> None:
    with pytest.raises(DataError, match="judged 1 and 2"):
        group_qrels([Qrel("q", "d", 1), Qrel("q", "d", 2)])
    assert group_qrels([Qrel("q", "d", 1), Qrel("q", "d", 1)]) == {"q": {"d": 1}}
    with pytest.raises(DataError, match="no judgements"):
        group_qrels([])


def test_every_provider_sees_one_order_of_ties() -> None:
    # pytrec_eval puts "b" first, ir-measures' reciprocal rank would put "a" first.
    run = RunTable.from_scored([ScoredDoc("q", "a", 1.0), ScoredDoc("q", "b", 1.0)])
    measures = parse_measures(["RR@10", "nDCG@1", "P@1"])
    scores = score_queries(run, {"q": {"b": 1}}, measures)
    assert scores == {"RR@10": {"q": 1.0}, "nDCG@1": {"q": 1.0}, "P@1": {"q": 1.0}}


def test_missing_queries_count_zero_and_unjudged_ones_do_not_count() -> None:
    run = RunTable.from_scored([ScoredDoc("a", "x", 2.0), ScoredDoc("other", "x", 2.0)])
    measures = parse_measures(["nDCG@10", "Judged@10"])
    scores = score_queries(run, {"a": {"x": 1}, "b": {"x": 1}}, measures)
    assert scores["nDCG@10"] == {"a": 1.0, "b": 0.0}
    assert summarise(scores, measures) == {"nDCG@10": 0.5, "Judged@10": 0.5}


def test_counting_measures_are_summed() -> None:
    run = RunTable.from_scored([ScoredDoc("a", "x", 2.0), ScoredDoc("b", "x", 2.0)])
    measures = parse_measures(["NumRet"])
    scores = score_queries(run, {"a": {"x": 1}, "b": {"x": 1}}, measures)
    assert summarise(scores, measures) == {"NumRet": 2.0}


_docs = [f"d{n}" for n in range(12)]
# Few distinct scores make ties frequent; 16777217 and 16777216 tie in float32 only.
_scores = st.sampled_from([0.5, 1.0, 1.5, 2.0, 16777216.0, 16777217.0, -1.0])
_results = st.dictionaries(st.sampled_from(_docs), _scores, max_size=12)
_runs = st.dictionaries(st.sampled_from(["q1", "q2", "q3", "q4", "x"]), _results, max_size=5)
_judged = st.dictionaries(st.sampled_from(_docs), st.integers(0, 3), min_size=1, max_size=8)
_qrels = st.dictionaries(st.sampled_from(["q1", "q2", "q3", "q4"]), _judged, min_size=1)
_NAMES = {
    "nDCG@5": "ndcg_cut_5",
    "nDCG": "ndcg",
    "R@5": "recall_5",
    "AP": "map",
    "AP@5": "map_cut_5",
    "RR": "recip_rank",
    "P@5": "P_5",
}


@settings(max_examples=150, deadline=None)
@given(run=_runs, qrels=_qrels)
def test_measures_equal_trec_eval(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    table = RunTable.from_scored(
        ScoredDoc(q, d, s) for q, results in run.items() for d, s in results.items()
    )
    measures = parse_measures([*_NAMES, "RR@5"])
    mine = score_queries(table, qrels, measures)
    oracle = pytrec_eval.RelevanceEvaluator(qrels, set(_NAMES.values())).evaluate(run)
    for name, trec_name in _NAMES.items():
        assert list(mine[name]) == list(qrels)
        for query_id, value in mine[name].items():
            expected = oracle.get(query_id, {}).get(trec_name, 0.0)
            assert value == pytest.approx(expected, abs=1e-12), (name, query_id)
    # A cut-off reciprocal rank is the uncut one, or 0 beyond the cutoff.
    for query_id, value in mine["RR@5"].items():
        uncut = mine["RR"][query_id]
        assert value == (uncut if uncut >= 1 / 5 else 0.0)


def test_more_queries_than_a_chunk_keep_their_order() -> None:
    generator = np.random.default_rng(0)
    query_ids = [f"q{n}" for n in generator.permutation(600)]
    run = RunTable.from_scored(
        ScoredDoc(q, "d" if at % 2 else "e", 1.0) for at, q in enumerate(query_ids)
    )
    qrels = {q: {"d": 1} for q in query_ids}
    scores = score_queries(run, qrels, parse_measures(["nDCG@10"]))["nDCG@10"]
    assert list(scores) == query_ids
    assert list(scores.values()) == [float(at % 2) for at in range(600)]
