"""Mixing runs: reciprocal rank fusion, and a convex combination of min-max normalised scores.

The arithmetic is that of `indexing.fusion`, which hybrid search uses, over all queries at once. The
weight of a convex combination is learned on other collections than the one reported
(`weight_scores`, `best_weight`): tuned on the queries it is reported on, a hybrid flatters itself.

References
----------
Cormack, Clarke, Büttcher, *Reciprocal Rank Fusion outperforms Condorcet*, SIGIR 2009;
Bruch, Gai, Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, TOIS 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.runs import RunTable
from indexing.fusion import Normalise, min_max, reciprocal_ranks
from lsr.core.errors import ArgumentError
from lsr.core.sparse import Int32Array

__all__ = [
    "WEIGHTS",
    "best_weight",
    "convex_combination",
    "reciprocal_rank_fusion",
    "weight_scores",
]

WEIGHTS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(21))
"""Weights of the first run that are tried."""


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


def weight_scores(
    first: RunTable,
    second: RunTable,
    score: Callable[[RunTable], float],
    *,
    depth: int = 1000,
) -> list[float]:
    """Return what each of `WEIGHTS` of the first run scores.

    Parameters
    ----------
    first, second : RunTable
        Of one collection.
    score : callable
        A run to the measure to maximise.
    depth : int
        As in `convex_combination`.
    """
    aligned = _align([first, second], min_max, depth)
    return [score(_combine(aligned, [weight, 1 - weight], depth)) for weight in WEIGHTS]


def best_weight(scores: Sequence[Sequence[float]]) -> float:
    """Return the one of `WEIGHTS` that scores best on average over collections.

    Parameters
    ----------
    scores : sequence of sequence of float
        Of each collection, from `weight_scores`.

    Raises
    ------
    ArgumentError
        If there is no collection.
    """
    if not scores:
        raise ArgumentError("A weight is tuned on at least one collection.")
    return WEIGHTS[int(np.argmax(np.mean(scores, axis=0)))]


class _Aligned(NamedTuple):
    """Runs over one numbering of documents.

    Attributes
    ----------
    doc_ids : list of str
        Ascending, so that of equal scores the lower number is the lower id.
    queries : dict
        Query id to rows, ascending, and each run's normalised scores of them,
        ``(n_runs, n_rows)``; 0 where a run lacks the document.
    """

    doc_ids: list[str]
    queries: dict[str, tuple[Int32Array, NDArray[np.float64]]]


def _fuse(
    runs: Sequence[RunTable], weights: Sequence[float], normalise: Normalise, depth: int
) -> RunTable:
    if len(runs) < 2:
        raise ArgumentError(f"Fusion needs two or more runs, got {len(runs)}.")
    return _combine(_align(runs, normalise, depth), weights, depth)


def _align(runs: Sequence[RunTable], normalise: Normalise, depth: int) -> _Aligned:
    doc_ids = sorted({doc_id for run in runs for doc_id in run.doc_ids})
    number = {doc_id: at for at, doc_id in enumerate(doc_ids)}
    renumber = [
        np.fromiter((number[d] for d in run.doc_ids), dtype=np.int32, count=len(run.doc_ids))
        for run in runs
    ]
    aligned = _Aligned(doc_ids, {})
    for query_id in dict.fromkeys(q for run in runs for q in run.query_ids):
        found = [run.rows(query_id) for run in runs]
        mine = [new[rows[:depth]] for new, (rows, _) in zip(renumber, found, strict=True)]
        rows = np.unique(np.concatenate(mine))
        shares = np.zeros((len(runs), len(rows)))
        for at, (listed, (_, scores)) in enumerate(zip(mine, found, strict=True)):
            if len(listed):
                values = normalise(np.asarray(scores[:depth], dtype=np.float64))
                shares[at, np.searchsorted(rows, listed)] = values
        aligned.queries[query_id] = rows, shares
    return aligned


def _combine(aligned: _Aligned, weights: Sequence[float], depth: int) -> RunTable:
    best: dict[str, Int32Array] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    for query_id, (rows, shares) in aligned.queries.items():
        total = sum(
            (w * share for w, share in zip(weights, shares, strict=True)), np.zeros(len(rows))
        )
        order = np.argsort(-total, kind="stable")[:depth]
        best[query_id], scores[query_id] = rows[order], total[order]
    return RunTable(aligned.doc_ids, best, scores)
