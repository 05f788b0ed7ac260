"""Mixing runs: reciprocal rank fusion, and a convex combination of min-max normalised scores.

The arithmetic of one query is `indexing.fusion`, shared with hybrid search. The weight of a convex
combination is learned on other collections than the one reported
(`tune_weight`): tuned on the queries it is reported on, a hybrid flatters itself.

References
----------
Cormack, Clarke, Büttcher, *Reciprocal Rank Fusion outperforms Condorcet*, SIGIR 2009;
Bruch, Gai, Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, TOIS 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from eval.runs import RunTable
from indexing.fusion import Normalise, Ranked, fuse, min_max, reciprocal_ranks
from lsr.core.errors import ArgumentError
from lsr.core.records import ScoredDoc

__all__ = ["WEIGHTS", "convex_combination", "reciprocal_rank_fusion", "tune_weight"]

WEIGHTS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(21))
"""Weights of the first run that `tune_weight` tries."""


def reciprocal_rank_fusion(runs: Sequence[RunTable], *, k: int = 60, depth: int = 1000) -> RunTable:
    """Return the fused run: a document's score is the sum of ``1 / (k + rank)`` over the runs.

    Parameters
    ----------
    runs : sequence of RunTable
        Two or more.
    k : int
        Higher: the first ranks weigh less against the later ones. 60 is the paper's.
    depth : int
        Results a query that are read from each run, and kept.

    Raises
    ------
    ArgumentError
        If there are fewer than two runs or `k` is negative.
    """
    if k < 0:
        raise ArgumentError(f"k must be 0 or more, got {k}.")
    return _fuse(runs, [1.0] * len(runs), reciprocal_ranks(k), depth)


def convex_combination(
    runs: Sequence[RunTable], weights: Sequence[float], *, depth: int = 1000
) -> RunTable:
    """Return the fused run: the weighted sum of each run's scores, min-max normalised by query.

    A document that a run does not list gets that run's minimum, 0. A run in which all results of
    a query score alike gives each of them 1.

    Parameters
    ----------
    runs : sequence of RunTable
        Two or more.
    weights : sequence of float
        One a run, none negative, summing to 1.
    depth : int
        Results a query that are read from each run, and kept.

    Raises
    ------
    ArgumentError
        If there are fewer than two runs, or the weights break their rule.
    """
    if len(weights) != len(runs) or min(weights, default=0) < 0 or abs(sum(weights) - 1) > 1e-6:
        raise ArgumentError(
            f"A convex combination of {len(runs)} runs needs as many weights, none negative, "
            f"with sum 1; got {list(weights)}."
        )
    return _fuse(runs, weights, min_max, depth)


def tune_weight(
    pairs: Mapping[str, tuple[RunTable, RunTable]],
    score: Callable[[str, RunTable], float],
    *,
    depth: int = 1000,
) -> float:
    """Return the weight of the first run that scores best on average over collections.

    Parameters
    ----------
    pairs : mapping
        Collection to its two runs.
    score : callable
        ``(collection, run)`` to the measure to maximise.
    depth : int
        As in `convex_combination`.

    Raises
    ------
    ArgumentError
        If there is no collection.
    """
    if not pairs:
        raise ArgumentError("A weight is tuned on at least one collection.")
    means = [
        np.mean(
            [
                score(name, convex_combination(runs, [weight, 1 - weight], depth=depth))
                for name, runs in pairs.items()
            ]
        )
        for weight in WEIGHTS
    ]
    return WEIGHTS[int(np.argmax(means))]


def _fuse(
    runs: Sequence[RunTable], weights: Sequence[float], normalise: Normalise, depth: int
) -> RunTable:
    if len(runs) < 2:
        raise ArgumentError(f"Fusion needs two or more runs, got {len(runs)}.")
    fused = [
        ScoredDoc(query_id, found.doc_id, found.score)
        for query_id in dict.fromkeys(q for run in runs for q in run.query_ids)
        for found in fuse(
            [Ranked(*run.results(query_id)) for run in runs], weights, normalise, depth
        )
    ]
    return RunTable.from_scored(fused)
