"""Mixing ranked results: reciprocal rank fusion, and a convex combination of min-max scores.

One query at a time, and what each result gave to each document's score is kept, so that a fused
score can be explained. Over whole runs: `eval.fusion`.

References
----------
Cormack, Clarke, Büttcher, *Reciprocal Rank Fusion outperforms Condorcet*, SIGIR 2009;
Bruch, Gai, Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, TOIS 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fused", "Normalise", "Ranked", "fuse", "min_max", "reciprocal_ranks"]

Normalise: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Ranked(NamedTuple):
    """One result: documents best first, with their scores."""

    doc_ids: Sequence[str]
    scores: Sequence[float] | NDArray[Any]


class Fused(NamedTuple):
    """A document of the fused result.

    Attributes
    ----------
    score : float
        The sum of the shares.
    shares : tuple of float
        What each result gave; 0 where it lacks the document.
    ranks : tuple of (int or None)
        Where each result has the document; 1 is the best.
    """

    doc_id: str
    score: float
    shares: tuple[float, ...]
    ranks: tuple[int | None, ...]


def reciprocal_ranks(k: int = 60) -> Normalise:
    """Return the function that gives rank r the value ``1 / (k + r)``, whatever the scores."""
    return lambda scores: 1 / (k + 1 + np.arange(len(scores)))


def min_max(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores from 0, the least, to 1, the greatest; 1 for all where they are alike."""
    spread = scores.max() - scores.min()
    return (scores - scores.min()) / spread if spread > 0 else np.ones(len(scores))


def fuse(
    results: Sequence[Ranked], weights: Sequence[float], normalise: Normalise, depth: int
) -> list[Fused]:
    """Return the fused result: a document's score is the weighted sum of its normalised scores.

    Parameters
    ----------
    results : sequence of Ranked
        Of one query. A document that one of them lacks gets nothing from it.
    weights : sequence of float
        One a result.
    normalise : callable
        `min_max`, or what `reciprocal_ranks` returns.
    depth : int
        Documents that are read from each result, and kept.
    """
    shares: dict[str, list[float]] = {}
    ranks: dict[str, list[int | None]] = {}
    for at, (result, weight) in enumerate(zip(results, weights, strict=True)):
        doc_ids = result.doc_ids[:depth]
        if not doc_ids:
            continue
        values = normalise(np.asarray(result.scores[:depth], dtype=np.float64)) * weight
        for rank, (doc_id, value) in enumerate(zip(doc_ids, values.tolist(), strict=True), 1):
            shares.setdefault(doc_id, [0.0] * len(results))[at] = value
            ranks.setdefault(doc_id, [None] * len(results))[at] = rank
    # Ties by document id, since the results may number their rows differently.
    best = sorted(shares, key=lambda doc_id: (-sum(shares[doc_id]), doc_id))[:depth]
    return [Fused(d, sum(shares[d]), tuple(shares[d]), tuple(ranks[d])) for d in best]
