from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.runs import RunTable
from indexing.base import BatchResult
from lsr.core.errors import DataError, DuplicateIdError
from lsr.core.records import ScoredDoc


def _batch() -> BatchResult:
    rows = np.array([[1, 0], [2, -1], [-1, -1]], dtype=np.int32)
    scores = np.array([[0.1, 0.1], [1 / 3, 0], [0, 0]], dtype=np.float32)
    return BatchResult(rows, scores)


def test_a_batch_keeps_its_order_and_its_empty_queries() -> None:
    run = RunTable.from_batch(["q1", "q2", "q3"], ["a", "b", "c"], _batch())
    assert [tuple(line)[:2] for line in run] == [("q1", "b"), ("q1", "a"), ("q2", "c")]
    assert run.query_ids == ["q1", "q2", "q3"]
    assert run.results("q3")[0] == []
    assert run.results("nowhere")[0] == []
    assert run.n_results == 3


def test_a_file_gives_back_every_score_bit_for_bit(tmp_path: Path) -> None:
    run = RunTable.from_batch(["q1", "q2", "q3"], ["a", "b", "c"], _batch())
    for name in ("run.trec", "run.trec.gz"):
        assert run.save(tmp_path / name) == 3
        again = RunTable.load(tmp_path / name)
        for query_id in ("q1", "q2"):
            docs, scores = run.results(query_id)
            loaded_docs, loaded = again.results(query_id)
            assert loaded_docs == docs
            assert np.array_equal(loaded.astype(np.float32), scores)


def test_duplicates_and_odd_scores_are_errors() -> None:
    with pytest.raises(DuplicateIdError, match="'d' stands twice for query 'q'"):
        RunTable.from_scored([ScoredDoc("q", "d", 2.0), ScoredDoc("q", "d", 1.0)])
    with pytest.raises(DataError, match="nan"):
        RunTable.from_scored([ScoredDoc("q", "d", float("nan"))])
    with pytest.raises(DuplicateIdError, match="query id 'q'"):
        RunTable.from_batch(["q", "q", "r"], ["a", "b", "c"], _batch())
    with pytest.raises(DataError, match="2 query ids"):
        RunTable.from_batch(["q", "r"], ["a", "b", "c"], _batch())


def test_lines_in_any_order_are_ranked() -> None:
    lines = [ScoredDoc("q", "a", 1.0), ScoredDoc("r", "a", 5.0), ScoredDoc("q", "b", 3.0)]
    assert RunTable.from_scored(lines).results("q")[0] == ["b", "a"]


def test_self_matches_are_dropped() -> None:
    lines = [ScoredDoc("a", "a", 2.0), ScoredDoc("a", "b", 1.0), ScoredDoc("b", "a", 1.0)]
    kept = RunTable.from_scored(lines).without_self_matches()
    assert [(q, d) for q, d, _ in kept] == [("a", "b"), ("b", "a")]


def test_top_cuts_every_query() -> None:
    lines = [ScoredDoc("q", "a", 2.0), ScoredDoc("q", "b", 1.0), ScoredDoc("r", "a", 1.0)]
    assert [(q, d) for q, d, _ in RunTable.from_scored(lines).top(1)] == [("q", "a"), ("r", "a")]
