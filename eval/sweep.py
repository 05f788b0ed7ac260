"""The recall–latency curve of an index: a grid of search parameters, each measured.

Half of the queries (every second one) decides which points are on the Pareto front, the other
half gives the figures that are reported: a setting chosen on the queries it is quoted on is
flattered by them. All points and exact search are timed query by query in turn.

References
----------
Bruch et al., *Efficient Inverted Indexes for Approximate Retrieval over Learned Sparse
Representations* (Seismic), SIGIR 2024, section 5 (recall against µs a query as the curve).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.latency import Latency, measure_interleaved
from eval.recall import mean_recall, recall_at_k
from indexing.base import BatchResult, SparseIndex
from lsr.core.errors import ArgumentError, DataError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix

__all__ = ["SWEEP_FORMAT", "Sweep", "SweepPoint", "grid_points", "pareto_front", "sweep"]

SWEEP_FORMAT = 1


class SweepPoint(BaseModel):
    """One setting: `recall` and `latency` on the reported half of the queries.

    Attributes
    ----------
    params : dict
        Search parameters; empty for exact search.
    pareto : bool
        No other setting was both better and faster on the deciding half.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: dict[str, Any]
    recall: float
    latency: Latency
    pareto: bool = False


class Sweep(BaseModel):
    """A recall–latency curve.

    Attributes
    ----------
    points : tuple of SweepPoint
        In the order of the grid.
    exact : SweepPoint
        Exact search: the end of the curve.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layout: str
    k: int
    n_documents: int
    n_queries: int
    points: tuple[SweepPoint, ...]
    exact: SweepPoint
    index_bytes: int
    command: str = ""
    manifest: Manifest

    @property
    def front(self) -> list[SweepPoint]:
        """The points of the Pareto front, the fastest first."""
        return sorted((p for p in self.points if p.pareto), key=lambda p: p.latency.mean_us)


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values of a grid, the last name changing fastest.

    Examples
    --------
    >>> grid_points({"a": [1, 2], "b": ["x"]})
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def pareto_front(recall: Sequence[float], cost: Sequence[float]) -> list[bool]:
    """Return for each point whether no other has at least its recall at a lower cost.

    Of points that are equal in both the first is kept.

    Examples
    --------
    >>> pareto_front([0.9, 0.95, 0.94, 0.9], [10, 20, 30, 10])
    [True, True, False, False]
    """
    kept = [False] * len(recall)
    best = -1.0
    for at in sorted(range(len(recall)), key=lambda i: (cost[i], -recall[i], i)):
        if recall[at] > best:
            best = recall[at]
            kept[at] = True
    return kept


def sweep(
    index: SparseIndex,
    exact: SparseIndex,
    queries: SparseMatrix,
    points: Sequence[Mapping[str, Any]],
    *,
    parse: Callable[[Mapping[str, Any]], Any],
    name: str,
    layout: str,
    k: int = 10,
    n_runs: int = 5,
    n_threads: int | None = None,
    command: str = "",
) -> Sweep:
    """Measure an index at every setting of a grid, and exact search beside it.

    Parameters
    ----------
    index, exact : SparseIndex
        Over the same documents, in the same order.
    queries : SparseMatrix
        At least two; even rows decide, odd rows are reported.
    points : sequence of mapping
        From `grid_points`.
    parse : callable
        A point to the index's own search parameters.
    name, layout : str
        How the curve is called.
    k, n_runs : int
        Depth; timed passes.

    Raises
    ------
    ArgumentError
        If the grid is empty or there are fewer than two queries with terms.
    DataError
        If the two indexes have different documents.
    """
    if not points:
        raise ArgumentError("The grid is empty.", hint="Example: --grid max_blocks=50,100,200")
    if (index.n_documents, index.vocabulary_size) != (exact.n_documents, exact.vocabulary_size):
        raise DataError(
            f"The index has {index.n_documents} documents and {index.vocabulary_size} terms, the "
            f"exact one {exact.n_documents} and {exact.vocabulary_size}."
        )
    filled = np.flatnonzero(np.diff(queries.indptr))
    if len(filled) < 2:
        raise ArgumentError(f"A sweep needs two queries with terms, got {len(filled)}.")
    halves = [queries.take(filled[half::2]) for half in (0, 1)]
    settings = [parse(point) for point in points]
    recall: list[list[float]] = []
    latency: list[dict[str, Latency]] = []
    for half in halves:
        truth = exact.search_batch(half, min(10 * k, 10_000), n_threads=n_threads)
        recall.append(
            [_recall(index, exact, half, truth, k, params, n_threads) for params in settings]
        )
        rows = [half.row(at) for at in range(half.n_rows)]
        systems: dict[str, Callable[[int], object]] = {
            str(at): _answer(index, rows, k, params) for at, params in enumerate(settings)
        }
        systems["exact"] = _answer(exact, rows, k, None)
        latency.append(measure_interleaved(systems, half.n_rows, n_runs=n_runs))
    cost = [latency[0][str(at)].mean_us for at in range(len(points))]
    front = pareto_front(recall[0], cost)
    return Sweep(
        name=name,
        layout=layout,
        k=k,
        n_documents=index.n_documents,
        n_queries=halves[1].n_rows,
        points=tuple(
            SweepPoint(
                params=dict(point),
                recall=recall[1][at],
                latency=latency[1][str(at)],
                pareto=front[at],
            )
            for at, point in enumerate(points)
        ),
        exact=SweepPoint(params={}, recall=1.0, latency=latency[1]["exact"]),
        index_bytes=sum(index.bytes_by_part().values()),
        command=command,
        manifest=Manifest.new("sweep", SWEEP_FORMAT),
    )


def _answer(
    index: SparseIndex, rows: Sequence[Any], k: int, params: Any
) -> Callable[[int], object]:
    return lambda query: index.search(rows[query], k, params=params)


def _recall(
    index: SparseIndex,
    exact: SparseIndex,
    queries: SparseMatrix,
    truth: BatchResult,
    k: int,
    params: Any,
    n_threads: int | None,
) -> float:
    found = index.search_batch(queries, k, params=params, n_threads=n_threads)

    def exact_scores(query: int, rows: Any) -> Any:
        vector = queries.row(query)
        return np.array([exact.document(int(row)).dot(vector) for row in rows], dtype=np.float32)

    return mean_recall(recall_at_k(found, truth, k, exact_scores=exact_scores))
