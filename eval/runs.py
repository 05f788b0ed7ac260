"""The results of one system over one set of queries, held compactly.

A run of 10,000 queries × 1,000 results is 80 MB here (a row number and a score each) and several
gigabytes as Python objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.base import BatchResult
from lsr.core.errors import DataError, DuplicateIdError
from lsr.core.records import ScoredDoc
from lsr.core.sparse import Int32Array
from lsr.core.trec import read_run, write_run

__all__ = ["RunTable"]


class RunTable:
    """Ranked documents by query.

    Parameters
    ----------
    doc_ids : sequence of str
        Names of the rows.
    rows : dict of int32 arrays, shape (m,)
        By query id, best first; positions in `doc_ids`.
    scores : dict of float arrays, shape (m,)
        By query id, beside `rows`; never rounded.
    """

    def __init__(
        self,
        doc_ids: Sequence[str],
        rows: dict[str, Int32Array],
        scores: dict[str, NDArray[Any]],
    ) -> None:
        self._doc_ids = doc_ids
        self._rows = rows
        self._scores = scores

    @classmethod
    def from_batch(
        cls, query_ids: Sequence[str], doc_ids: Sequence[str], batch: BatchResult
    ) -> RunTable:
        """Return the run of a batch search.

        Raises
        ------
        DataError
            If the numbers of queries differ.
        DuplicateIdError
            If a query id stands twice.
        """
        if len(query_ids) != len(batch):
            raise DataError(f"{len(query_ids)} query ids but results for {len(batch)} queries.")
        rows: dict[str, Int32Array] = {}
        scores: dict[str, NDArray[Any]] = {}
        for at, query_id in enumerate(query_ids):
            if query_id in rows:
                raise DuplicateIdError(f"The query id {query_id!r} stands twice.")
            rows[query_id], scores[query_id] = batch[at]
        return cls(doc_ids, rows, scores)

    @classmethod
    def from_scored(cls, run: Iterable[ScoredDoc]) -> RunTable:
        """Return the table of result lines in any order; equal scores keep the order of lines.

        Raises
        ------
        DuplicateIdError
            If a document stands twice for one query.
        DataError
            If a score is not finite.
        """
        numbers: dict[str, int] = {}
        found: dict[str, dict[int, float]] = {}
        for query_id, doc_id, score in run:
            row = numbers.setdefault(doc_id, len(numbers))
            results = found.setdefault(query_id, {})
            if row in results:
                raise DuplicateIdError(
                    f"Document {doc_id!r} stands twice for query {query_id!r}.",
                    hint="Merge the duplicates (keep the best score) before evaluating.",
                )
            if not np.isfinite(score):
                raise DataError(
                    f"The score of document {doc_id!r} for query {query_id!r} is {score!r}."
                )
            results[row] = float(score)
        rows: dict[str, Int32Array] = {}
        scores: dict[str, NDArray[Any]] = {}
        for query_id, results in found.items():
            value = np.fromiter(results.values(), dtype=np.float64, count=len(results))
            order = np.argsort(-value, kind="stable")
            rows[query_id] = np.fromiter(results, dtype=np.int32, count=len(results))[order]
            scores[query_id] = value[order]
        return cls(list(numbers), rows, scores)

    @classmethod
    def load(cls, path: Path) -> RunTable:
        """Return the run in a TREC file (see `lsr.core.trec.read_run` for what it refuses)."""
        return cls.from_scored(read_run(path))

    @property
    def query_ids(self) -> list[str]:
        """Queries that have an entry, also those without results."""
        return list(self._rows)

    @property
    def doc_ids(self) -> Sequence[str]:
        """Names of the rows."""
        return self._doc_ids

    @property
    def n_results(self) -> int:
        """Number of results of all queries."""
        return sum(len(rows) for rows in self._rows.values())

    def rows(self, query_id: str) -> tuple[Int32Array, NDArray[Any]]:
        """Return rows (positions in `doc_ids`) and scores of a query, best first."""
        rows = self._rows.get(query_id)
        if rows is None:
            return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
        return rows, self._scores[query_id]

    def results(self, query_id: str) -> tuple[list[str], NDArray[Any]]:
        """Return document ids and scores of a query, best first; empty if it has none."""
        rows, scores = self.rows(query_id)
        return [self._doc_ids[row] for row in rows.tolist()], scores

    def without_self_matches(self) -> RunTable:
        """Return the run without results whose document id is the query's own id.

        ArguAna's queries are documents of its corpus: each would find itself first.
        """
        rows: dict[str, Int32Array] = {}
        scores: dict[str, NDArray[Any]] = {}
        for query_id, found in self._rows.items():
            keep = np.array([self._doc_ids[row] != query_id for row in found.tolist()], dtype=bool)
            rows[query_id], scores[query_id] = found[keep], self._scores[query_id][keep]
        return RunTable(self._doc_ids, rows, scores)

    def top(self, k: int) -> RunTable:
        """Return the best `k` results of each query."""
        return RunTable(
            self._doc_ids,
            {query_id: rows[:k] for query_id, rows in self._rows.items()},
            {query_id: scores[:k] for query_id, scores in self._scores.items()},
        )

    def save(self, path: Path, *, tag: str = "lsr") -> int:
        """Write the run as a TREC file (``.gz`` compresses) and return its number of lines."""
        return write_run(path, self, tag=tag)

    def __iter__(self) -> Iterator[ScoredDoc]:
        for query_id in self._rows:
            docs, scores = self.results(query_id)
            for doc_id, score in zip(docs, scores, strict=True):
                yield ScoredDoc(query_id, doc_id, score)

    def __len__(self) -> int:
        return len(self._rows)
