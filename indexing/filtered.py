"""Searching an index among the rows that pass a filter, so that k come back whenever k match.

The filter's bitmap is applied inside the traversal. Where few rows pass, that would visit much for
little: then they are scored one by one, or the index is searched exhaustively.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from indexing.base import SearchResult, SparseIndex
from indexing.exact import ExactIndex
from indexing.filters import NO_FILTER, contains, count_rows, rows_of
from indexing.filters_columns import Columns
from indexing.filters_language import Test
from lsr.core.sparse import Float32Array, Int64Array, SparseVector, UInt64Array

__all__ = ["Passing", "PassingRows", "best_rows", "search_passing"]

_CACHED_FILTERS = 64
# The cost rule, in nanoseconds: a posting that is read in order, and the search of one list for one
# row. Measured on 125,000 passages, AMD Zen 3: 0.9 to 1.6, and 14 (2 % of the rows) to 33 (0.01 %).
_NS_A_POSTING = 1.2
_NS_A_LOOKUP = 25.0
# Share of passing rows up to which an approximate index is searched in its exact mode: a traversal
# led by all rows finds few of them, and the exact one costs no more there (benchmarks/filters.py).
_NARROW_SHARES = {"clustered": 0.1}
_NARROW_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Passing:
    """The rows of an index that pass a filter.

    `rows` is there only where they are few enough to be scored one by one.
    """

    words: UInt64Array
    count: int
    rows: Int64Array | None


class PassingRows:
    """Which rows pass a filter, remembered for the filters asked for last; for many threads.

    Parameters
    ----------
    columns : Columns
        The metadata of the rows.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._cache: OrderedDict[str, Passing] = OrderedDict()
        self._lock = Lock()

    def of(self, test: Test, key: str) -> Passing:
        """Return the rows that pass a filter; `key` is its text, for the cache."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        words, n_rows = self._columns.evaluate(test), self._columns.n_rows
        count = count_rows(words)
        # Beyond a tenth of the rows reading the lists always wins.
        rows = rows_of(words, n_rows) if count <= max(1_000, n_rows // 10) else None
        made = Passing(words, count, rows)
        with self._lock:
            self._cache[key] = made
            while len(self._cache) > _CACHED_FILTERS:
                self._cache.popitem(last=False)
        return made


def search_passing(
    index: SparseIndex,
    query: SparseVector,
    k: int,
    params: Any,
    passing: Passing,
    *,
    alive: UInt64Array = NO_FILTER,
) -> SearchResult:
    """Return the best rows among those that pass and live; `alive` is empty where all do."""
    if passing.count == 0:
        return SearchResult(np.empty(0, np.int32), np.empty(0, np.float32))
    if isinstance(index, ExactIndex) and passing.rows is not None:
        by_row = passing.count * query.nnz * _NS_A_LOOKUP
        if by_row < index.n_postings(query) * _NS_A_POSTING:
            rows = passing.rows[contains(alive, passing.rows)] if len(alive) else passing.rows
            return best_rows(rows, index.score_rows(query, rows), k)
    allowed = passing.words & alive if len(alive) else passing.words
    if index.params_model is None:
        return index.search(query, k, allowed=allowed)
    exact = index.params_model.model_validate({"exact": True})
    if passing.count <= _NARROW_SHARES.get(index.kind, _NARROW_SHARE) * index.n_documents:
        return index.search(query, k, params=exact, allowed=allowed)
    found = index.search(query, k, params=params, allowed=allowed)
    if len(found.rows) < min(k, passing.count):
        # An approximate traversal may end early; a filter must not cost results.
        return index.search(query, k, params=exact, allowed=allowed)
    return found


def best_rows(rows: Int64Array, scores: Float32Array, k: int) -> SearchResult:
    """Return the best `k` of some scored rows (ascending) by the ranking rule."""
    kept = scores > 0
    rows, scores = rows[kept], scores[kept]
    if len(scores) > 4 * k:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = scores >= bound
        rows, scores = rows[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return SearchResult(rows[order].astype(np.int32), scores[order])
