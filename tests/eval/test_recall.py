from __future__ import annotations

import numpy as np
import pytest

from eval.recall import mean_recall, recall_at_k
from indexing.base import BatchResult
from lsr.core.errors import ArgumentError


def _batch(rows: list[list[int]], scores: list[list[float]]) -> BatchResult:
    return BatchResult(np.array(rows, dtype=np.int32), np.array(scores, dtype=np.float32))


def test_recall_is_the_share_of_the_true_top_k() -> None:
    exact = _batch([[1, 2, 3]], [[3, 2, 1]])
    found = _batch([[1, 3, 9]], [[3, 1, 0.5]])
    assert recall_at_k(found, exact, 3).tolist() == [2 / 3]
    assert recall_at_k(found, exact, 1).tolist() == [1.0]


def test_another_document_of_equal_score_counts() -> None:
    exact = _batch([[1, 2, 3]], [[3, 2, 2]])
    found = _batch([[1, 3, 2]], [[3, 2, 2]])
    assert recall_at_k(found, exact, 2).tolist() == [1.0]
    # A tie beyond what the exact result lists is seen through exact_scores only.
    unlisted = _batch([[1, 7, 2]], [[3, 2, 2]])
    assert recall_at_k(unlisted, exact, 2).tolist() == [0.5]

    def exact_scores(query: int, rows: np.ndarray) -> np.ndarray:
        return np.array([{7: 2.0}[int(row)] for row in rows], dtype=np.float32)

    assert recall_at_k(unlisted, exact, 2, exact_scores=exact_scores).tolist() == [1.0]


def test_short_and_empty_results() -> None:
    exact = _batch([[1, -1], [-1, -1]], [[3, 0], [0, 0]])
    found = _batch([[-1, -1], [-1, -1]], [[0, 0], [0, 0]])
    values = recall_at_k(found, exact, 2)
    assert values[0] == 0.0
    assert np.isnan(values[1])
    assert mean_recall(values) == 0.0
    assert mean_recall(np.array([np.nan])) == 1.0


def test_shallow_results_are_an_error() -> None:
    one = _batch([[1]], [[1]])
    with pytest.raises(ArgumentError, match="2 deep"):
        recall_at_k(one, one, 2)
    two = _batch([[1], [1]], [[1], [1]])
    with pytest.raises(ArgumentError, match="1 queries against 2"):
        recall_at_k(one, two, 1)
