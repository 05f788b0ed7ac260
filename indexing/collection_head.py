"""The head of a live collection: the newest documents, in memory, searched exactly.

A write must be searchable at once, and an inverted index is not made for single additions. So the
head is a few small exact indexes whose sizes grow like the digits of a binary counter, behind a
*tail* of at most `TAIL` vectors that are scored one by one. An addition copies the tail; every
`TAIL` additions it becomes an index, and indexes of like size become one.

A head is immutable: an addition or a deletion returns a new one that shares what did not change,
and whoever searches the old one is not disturbed. Parts lie in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from indexing import kernels
from indexing.base import SearchResult
from indexing.dense_flat import nearest_rows
from indexing.exact import ExactIndex
from indexing.filtered import best_rows
from indexing.filters import all_rows, clear_rows, contains, count_rows
from indexing.filters_columns import Columns, columns_of
from indexing.filters_fields import FieldValues
from indexing.filters_language import Test, matches
from indexing.jit import read_only
from lsr.core.sparse import (
    Float32Array,
    Int64Array,
    SparseMatrix,
    SparseVector,
    UInt64Array,
    vstack,
)

__all__ = ["TAIL", "Head", "HeadRow", "Part", "ScatteredQuery"]

TAIL = 256
# A part lives for seconds: filters beyond these are evaluated each time.
_CACHED_FILTERS = 64


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One new document: what a search needs of it."""

    number: int
    doc_id: str
    fields: FieldValues
    vector: SparseVector
    dense: Float32Array | None = None


class DenseRows:
    """The dense vectors of some rows, made one array when the first search asks for it."""

    def __init__(self, rows: Sequence[Float32Array]) -> None:
        self._rows = rows

    @cached_property
    def array(self) -> Float32Array:
        """Row by row, in C order."""
        return np.stack(self._rows)


@dataclass(frozen=True)
class Part:
    """Documents of the head in number order; `alive` is the bitmap of those that live.

    With `index` None it is the tail.
    """

    rows: tuple[HeadRow, ...]
    numbers: Int64Array
    alive: UInt64Array
    matrix: SparseMatrix
    index: ExactIndex | None
    columns: Columns | None
    dense: DenseRows | None = None
    cache: dict[str, UInt64Array] = field(default_factory=dict, compare=False)

    def search(
        self, query: SparseVector, k: int, allowed: UInt64Array, scattered: ScatteredQuery
    ) -> SearchResult:
        """Return the best rows among the allowed."""
        if self.index is not None:
            return self.index.search(query, k, allowed=allowed)
        scores = np.empty(self.matrix.n_rows, dtype=np.float32)
        kernels.score_vectors(
            read_only(self.matrix.indptr),
            read_only(self.matrix.terms),
            read_only(self.matrix.weights),
            scattered.weights,
            scores,
        )
        rows = np.arange(len(scores), dtype=np.int64)
        kept = contains(allowed, rows)
        return best_rows(rows[kept], scores[kept], k)

    def nearest(self, query: Float32Array, k: int, allowed: UInt64Array) -> SearchResult:
        """Return the best rows among the allowed by their dense vectors."""
        assert self.dense is not None, "asked only where there is a dense half"
        return nearest_rows(
            self.dense.array, query, k, allowed=allowed, n_allowed=count_rows(allowed)
        )

    def doc_id(self, row: int) -> str:
        """Return the id of a row's document."""
        return self.rows[row].doc_id

    def passing(self, test: Test, key: str) -> UInt64Array:
        """Return the bitmap of the rows, dead or alive, that pass a filter; `key` is its text."""
        words = self.cache.get(key)
        if words is None:
            words = self._evaluate(test)
            if len(self.cache) < _CACHED_FILTERS:
                self.cache[key] = words
        return words

    def _evaluate(self, test: Test) -> UInt64Array:
        if self.columns is not None:
            return self.columns.evaluate(test)
        bits = np.zeros(-(-len(self.rows) // 64) * 64, dtype=np.uint8)
        bits[: len(self.rows)] = [matches(test, row.fields) for row in self.rows]
        return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)


class ScatteredQuery:
    """A query with a weight for every term, made when the first tail asks for it.

    Parameters
    ----------
    query : SparseVector
        One query is one object for all parts of a search.
    """

    def __init__(self, query: SparseVector) -> None:
        self._query = query

    @cached_property
    def weights(self) -> Float32Array:
        """The weights, read-only."""
        weights = np.zeros(self._query.size, dtype=np.float32)
        weights[self._query.terms] = self._query.weights
        return read_only(weights)


def _part(
    rows: Sequence[HeadRow],
    size: int,
    types: Mapping[str, str],
    matrix: SparseMatrix | None = None,
) -> Part:
    if matrix is None:
        matrix = SparseMatrix.from_rows([row.vector for row in rows], size)
    big = len(rows) >= TAIL
    dense = [row.dense for row in rows if row.dense is not None]
    return Part(
        rows=tuple(rows),
        numbers=np.array([row.number for row in rows], dtype=np.int64),
        alive=all_rows(len(rows)),
        matrix=matrix,
        index=ExactIndex.from_matrix(matrix, n_threads=1) if big else None,
        columns=columns_of((row.fields for row in rows), types) if big else None,
        dense=DenseRows(dense) if dense else None,
    )


class Head:
    """The documents that no segment holds yet.

    Parameters
    ----------
    vocabulary_size : int
        Of the vectors.
    parts : tuple of Part
        In number order; only the last may be a tail.
    """

    def __init__(self, vocabulary_size: int, parts: tuple[Part, ...] = ()) -> None:
        self._size = vocabulary_size
        self.parts = parts

    @cached_property
    def n_documents(self) -> int:
        """Number of live documents."""
        return sum(count_rows(part.alive) for part in self.parts)

    @cached_property
    def n_rows(self) -> int:
        """Number of documents in memory, dead ones with them."""
        return sum(len(part.rows) for part in self.parts)

    @property
    def last_number(self) -> int:
        """The largest number, or -1."""
        return int(self.parts[-1].numbers[-1]) if self.parts else -1

    def added(self, rows: Sequence[HeadRow], types: Mapping[str, str]) -> Head:
        """Return the head with `rows`, whose numbers ascend from beyond the last one."""
        if not rows:
            return self
        parts = list(self.parts)
        waiting = list(rows)
        new = SparseMatrix.from_rows([row.vector for row in rows], self._size)
        matrix: SparseMatrix | None = new
        if parts and parts[-1].index is None:
            tail = parts.pop()
            living = _living(tail)
            waiting = [*living, *waiting]
            matrix = vstack((tail.matrix, new), self._size) if living is tail.rows else None
        # Like size becomes one: the number of parts stays logarithmic.
        while parts and len(waiting) >= TAIL and len(parts[-1].rows) < 2 * len(waiting):
            waiting = [*_living(parts.pop()), *waiting]
            matrix = None
        if waiting:
            parts.append(_part(waiting, self._size, types, matrix))
        return Head(self._size, tuple(parts))

    def without(self, numbers: Int64Array) -> Head:
        """Return the head with those of `numbers` dead that it holds."""
        parts = []
        for part in self.parts:
            at = np.searchsorted(part.numbers, numbers)
            at = at[(at < len(part.numbers))]
            at = at[np.isin(part.numbers[at], numbers)]
            if len(at):
                part = replace(part, alive=clear_rows(part.alive, at.astype(np.int64)))
            parts.append(part)
        return Head(self._size, tuple(parts))

    def beyond(self, number: int, types: Mapping[str, str]) -> Head:
        """Return the head without the documents up to `number`, which a segment holds now."""
        parts = []
        for part in self.parts:
            n_gone = int(np.searchsorted(part.numbers, number, side="right"))
            if n_gone:
                rows = [row for row in _living(part) if row.number > number]
                if not rows:
                    continue
                part = _part(rows, self._size, types)
            parts.append(part)
        return Head(self._size, tuple(parts))


def _living(part: Part) -> tuple[HeadRow, ...]:
    if count_rows(part.alive) == len(part.rows):
        return part.rows
    alive = contains(part.alive, np.arange(len(part.rows)))
    return tuple(row for row, lives in zip(part.rows, alive.tolist(), strict=True) if lives)
