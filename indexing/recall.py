"""Recall of a search against exact search, for tuning: fair to ties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexing.base import BatchResult

__all__ = ["recall_of"]


def recall_of(found: BatchResult, exact: BatchResult) -> NDArray[np.float64]:
    """Return each query's share of the exact results that were found.

    Both are of one index and one depth, so a row has the same score in both: a found row counts
    if its score reaches the last exact one, whichever of several equal rows it is.

    Returns
    -------
    recall : float64, shape (n_queries,)
        NaN for a query without exact results: nothing could be missed.
    """
    wanted = (exact.rows >= 0).sum(axis=1)
    last = exact.scores[np.arange(len(wanted)), np.maximum(wanted, 1) - 1]
    hits = ((found.rows >= 0) & (found.scores >= last[:, None])).sum(axis=1)
    shares: NDArray[np.float64] = np.where(
        wanted > 0, np.minimum(hits, wanted) / np.maximum(wanted, 1), np.nan
    )
    return shares
