from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from eval.sweep import grid_points, pareto_front, sweep
from indexing.base import BatchResult, SearchResult
from indexing.exact import ExactIndex
from lsr.core.errors import ArgumentError, DataError
from lsr.core.sparse import SparseMatrix


@dataclass
class _Cut:
    """Exact search that finds only rows below a limit: a recall that is known."""

    inner: ExactIndex

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def search(self, query: Any, k: int, *, params: Any) -> SearchResult:
        found = self.inner.search(query, self.n_documents)
        keep = found.rows < params
        return SearchResult(found.rows[keep][:k], found.scores[keep][:k])

    def search_batch(self, queries: Any, k: int, *, params: Any, n_threads: Any) -> BatchResult:
        rows = np.full((queries.n_rows, k), -1, dtype=np.int32)
        scores = np.zeros((queries.n_rows, k), dtype=np.float32)
        for at, query in enumerate(queries):
            found = self.search(query, k, params=params)
            rows[at, : len(found.rows)], scores[at, : len(found.rows)] = found
        return BatchResult(rows, scores)


@pytest.fixture
def vectors(rng: np.random.Generator) -> SparseMatrix:
    dense = rng.random((40, 20)) * (rng.random((40, 20)) < 0.4)
    return SparseMatrix.from_scipy(dense)


def test_recall_grows_with_what_is_searched(vectors: SparseMatrix) -> None:
    exact = ExactIndex.from_matrix(vectors)
    found = sweep(
        _Cut(exact),  # type: ignore[arg-type]
        exact,
        vectors.take(list(range(12))),
        grid_points({"rows": [10, 40]}),
        parse=lambda point: point["rows"],
        name="cut",
        layout="cut",
        k=5,
        n_runs=1,
    )
    assert [p.params for p in found.points] == [{"rows": 10}, {"rows": 40}]
    assert found.points[1].recall == 1.0
    assert found.points[0].recall < 0.6
    assert found.exact.recall == 1.0
    assert found.n_queries == 6
    assert found.points[1].pareto, "the only complete point is on the front"
    assert max(p.recall for p in found.front) == 1.0


def test_the_front_has_no_point_that_another_beats() -> None:
    generator = np.random.default_rng(0)
    recall, cost = generator.random(60).tolist(), generator.random(60).tolist()
    kept = pareto_front(recall, cost)
    for at in range(60):
        beaten = any(recall[o] >= recall[at] and cost[o] < cost[at] for o in range(60))
        assert kept[at] == (not beaten)


def test_what_cannot_be_swept_is_an_error(vectors: SparseMatrix) -> None:
    exact = ExactIndex.from_matrix(vectors)

    def run(index: Any, queries: SparseMatrix, points: list[dict[str, Any]]) -> None:
        sweep(index, exact, queries, points, parse=dict, name="x", layout="x")

    with pytest.raises(ArgumentError, match="empty"):
        run(exact, vectors, [])
    with pytest.raises(ArgumentError, match="two queries"):
        run(exact, vectors.take([0]), [{}])
    with pytest.raises(DataError, match="39 documents"):
        run(ExactIndex.from_matrix(vectors.take(list(range(39)))), vectors, [{}])
