"""Recall of an approximate search against exact search, fair to ties.

A result counts if its *exact* score reaches the exact k-th score, whichever of several equal
documents it is: two searches that differ only in the order of ties are both complete.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexing.base import BatchResult
from lsr.core.errors import ArgumentError
from lsr.core.sparse import Int32Array

__all__ = ["mean_recall", "recall_at_k"]

_RELATIVE_TOLERANCE = 1e-5
"""Float32 sums of the same products in another order differ by this much (kernel parity bound)."""


def recall_at_k(
    found: BatchResult,
    exact: BatchResult,
    k: int,
    *,
    exact_scores: Callable[[int, Int32Array], NDArray[np.float32]] | None = None,
) -> NDArray[np.float64]:
    """Return recall@k of each query.

    Parameters
    ----------
    found : BatchResult
        Of the approximate search, at least `k` deep.
    exact : BatchResult
        Of the exact search, at least `k` deep. Deeper is better: a tie at the k-th score is
        seen as far as `exact` reaches.
    k : int
        Depth.
    exact_scores : callable, optional
        ``(query, rows) -> scores`` gives the exact scores of rows that `exact` does not list;
        needed only where more documents tie with the k-th than `exact` holds.

    Returns
    -------
    recall : float64, shape (n_queries,)
        NaN for a query with no exact result: nothing could be found or missed.

    Raises
    ------
    ArgumentError
        If the numbers of queries differ or a result is shallower than `k`.
    """
    if len(found) != len(exact):
        raise ArgumentError(f"Results for {len(found)} queries against {len(exact)}.")
    if found.rows.shape[1] < k or exact.rows.shape[1] < k:
        raise ArgumentError(
            f"recall@{k} needs results {k} deep, got {found.rows.shape[1]} and "
            f"{exact.rows.shape[1]}."
        )
    recall = np.full(len(exact), np.nan)
    for query in range(len(exact)):
        truth = exact[query]
        wanted = min(k, len(truth.rows))
        if wanted == 0:
            continue
        threshold = float(truth.scores[wanted - 1])
        threshold -= abs(threshold) * _RELATIVE_TOLERANCE
        rows = found[query].rows[:k]
        good = np.isin(rows, truth.rows[truth.scores >= threshold])
        unknown = rows[~np.isin(rows, truth.rows)]
        hits = int(good.sum())
        if exact_scores is not None and len(unknown):
            hits += int((exact_scores(query, unknown) >= threshold).sum())
        recall[query] = min(hits, wanted) / wanted
    return recall


def mean_recall(recall: NDArray[np.float64]) -> float:
    """Return the mean over queries that have exact results; 1.0 if none has."""
    known = recall[~np.isnan(recall)]
    return float(known.mean()) if len(known) else 1.0
