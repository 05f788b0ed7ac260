from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from eval.evaluate import (
    EvalConfig,
    SearchTarget,
    encode_target,
    evaluate,
    evaluate_run,
    evaluate_target,
)
from eval.runs import RunTable
from eval.topics import Topics, load_topics
from lsr.core.errors import DataError, EncoderError
from lsr.core.records import Document, Qrel, ScoredDoc
from lsr.encoders import Encoder
from tests.helpers.evaluation import SmallDataset, fit_lexical

pytest.importorskip("ir_measures")


def test_all_judged_queries_count_and_only_they() -> None:
    results = evaluate(fit_lexical(), SmallDataset(), EvalConfig(measures=("RR@10",)))
    assert results.n_queries == 4
    assert results.n_unanswered == 1
    assert results.per_query["RR@10"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0, "d5": 0.5}
    assert results.measures == {"RR@10": 2.5 / 4}
    assert results.notes == ("1 judged queries have no result and count 0",)


def test_self_matches_are_dropped_for_arguana_only() -> None:
    config = EvalConfig(measures=("RR@10",))
    encoder = fit_lexical()
    arguana = evaluate(encoder, SmallDataset("beir/arguana"), config)
    assert arguana.per_query["RR@10"]["d5"] == 1.0
    assert "1 self-matches dropped" in arguana.notes
    kept = evaluate(
        encoder, SmallDataset("arguana"), config.model_copy(update={"drop_self": False})
    )
    assert kept.per_query["RR@10"]["d5"] == 0.5
    dropped = evaluate(encoder, SmallDataset(), config.model_copy(update={"drop_self": True}))
    assert dropped.per_query == arguana.per_query


def test_cost_is_measured_beside_quality() -> None:
    config = EvalConfig(timing=True, n_runs=2, timed_queries=3, timed_k=2)
    cost = evaluate(fit_lexical(), SmallDataset(), config, n_threads=1).efficiency
    assert cost.sparsity is not None and cost.sparsity.n_documents == 6
    assert cost.search is not None and cost.search.n_queries == 3
    assert cost.search.p99_us >= cost.search.p50_us > 0
    assert cost.encode_query is not None and cost.throughput is not None
    assert cost.total_index_bytes and cost.build_s and cost.encode_documents_per_s
    assert cost.peak_memory is not None


def test_timing_is_off_unless_asked_for() -> None:
    cost = evaluate(fit_lexical(), SmallDataset()).efficiency
    assert cost.search is None and cost.peak_memory is None


def test_a_shallow_run_says_so() -> None:
    results = evaluate(fit_lexical(), SmallDataset(), EvalConfig(k=5, measures=("R@100",)))
    assert results.notes[0] == "the run is 5 deep; cutoffs beyond see no more"


def test_a_target_can_be_searched_again_with_other_measures() -> None:
    target = encode_target(fit_lexical(), SmallDataset(), system="mine")
    assert isinstance(target, SearchTarget)
    topics = load_topics(SmallDataset())
    results, run = evaluate_target(target, topics, EvalConfig(measures=("P@1",)))
    again = evaluate_run(run, topics, EvalConfig(measures=("P@1",)), system="mine")
    assert results.measures == again.measures
    assert results.system == "mine"
    assert results.manifest.kind == "results"
    assert results.manifest.config["measures"] == ["P@1"]


def test_a_foreign_run_is_an_error_but_an_empty_one_is_zero() -> None:
    topics = load_topics(SmallDataset())
    foreign = RunTable.from_scored([ScoredDoc("other", "d1", 1.0)])
    with pytest.raises(DataError, match="answers none of the 4 judged queries"):
        evaluate_run(foreign, topics, EvalConfig(), system="x")
    empty = evaluate_run(RunTable.from_scored([]), topics, EvalConfig(), system="x")
    assert set(empty.measures.values()) == {0.0}
    assert empty.n_unanswered == 4


def test_judged_queries_without_a_text_count_zero() -> None:
    class Partly(SmallDataset):
        def qrels(self, split: str = "test") -> Iterator[Qrel]:
            yield from super().qrels(split)
            yield Qrel("lost", "d1", 1)

    results = evaluate(fit_lexical(), Partly(), EvalConfig(measures=("RR@10",)))
    assert results.n_queries == 5
    assert results.per_query["RR@10"]["lost"] == 0.0


def test_queries_that_do_not_belong_to_the_judgements_are_an_error() -> None:
    class Foreign(SmallDataset):
        def qrels(self, split: str = "test") -> Iterator[Qrel]:
            yield Qrel("lost", "d1", 1)

    with pytest.raises(DataError, match="None of the 1 judged queries"):
        load_topics(Foreign())


def test_a_query_side_alone_cannot_encode_a_collection() -> None:
    class QuerySide:
        name = "half"

    with pytest.raises(EncoderError, match="query side only"):
        encode_target(cast(Encoder, QuerySide()), SmallDataset())


def test_an_empty_collection_is_an_error() -> None:
    class Empty(SmallDataset):
        def documents(self) -> Iterator[Document]:
            yield from ()

    with pytest.raises(DataError, match="no documents"):
        encode_target(fit_lexical(), Empty())


def test_topics_without_texts_can_score_a_run() -> None:
    topics = Topics("x", "test", [], [], {"q": {"d": 1}})
    run = RunTable.from_scored([ScoredDoc("q", "d", 1.0)])
    assert evaluate_run(run, topics, EvalConfig(), system="x").measures["nDCG@10"] == 1.0
