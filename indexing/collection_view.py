"""One generation of a live collection: what a query sees, whatever is written meanwhile.

A view is immutable and shared by all queries of its generation. Segments and head lie in the order
of their numbers, so the ranking rule holds over all of them: score descending, then number
ascending, which is the order in which documents were last written. The answers are those of one
exact index over the live documents in that order, bit by bit where the segments are exact.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from indexing.base import SearchResult, check_k, check_query
from indexing.collection_head import Head, Part, ScatteredQuery
from indexing.collection_segment import SegmentView
from indexing.filtered import Passing
from indexing.filters import all_rows, count_rows, rows_of
from indexing.filters_language import Test, bind, filter_key, parse_filter
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, Int64Array, SparseVector, UInt64Array

__all__ = ["CollectionResult", "CollectionView"]


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """The best documents of one query.

    Attributes
    ----------
    numbers : int64, shape (m,)
        ``m <= k``, best first; a number names this version of the document.
    doc_ids : list of str
    scores : float32, shape (m,)
        All greater than 0, but for those of dense vectors.
    documents : list of Document, optional
        Where they were asked for.
    """

    numbers: Int64Array
    doc_ids: list[str]
    scores: Float32Array
    documents: list[Document] | None = None

    def __len__(self) -> int:
        return len(self.doc_ids)


class CollectionView:
    """Segments, head and field types of one generation.

    Parameters
    ----------
    generation, structure : int
        Of the store.
    segments : sequence of SegmentView
        In number order.
    head : Head
        The numbers beyond.
    types : mapping of str to str
        The metadata fields.
    n_documents : int
        That live.
    vocabulary_size : int
    """

    def __init__(
        self,
        *,
        generation: int,
        structure: int,
        segments: Sequence[SegmentView],
        head: Head,
        types: Mapping[str, str],
        n_documents: int,
        vocabulary_size: int,
    ) -> None:
        self.generation = generation
        self.structure = structure
        self.segments = tuple(segments)
        self.head = head
        self.types = types
        self.n_documents = n_documents
        self.vocabulary_size = vocabulary_size

    @property
    def sealed(self) -> int:
        """The largest number that segments cover, or -1."""
        return self.segments[-1].segment.row.last if self.segments else -1

    def bound(self, filter: Any | None) -> tuple[Test, str] | None:
        """Return the tests of a filter and its text.

        Raises
        ------
        FilterError
            If it breaks the language's rules, or names an unknown field.
        """
        if filter is None:
            return None
        node = parse_filter(filter)
        return bind(node, self.types), filter_key(node)

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,
    ) -> CollectionResult:
        """Return the best `k` documents; raises as `Collection.search` does."""
        check_k(k)
        check_query(query, self.vocabulary_size)
        scattered = ScatteredQuery(query)
        return self._best(
            k,
            filter,
            lambda view, passing: view.search(query, k, params, passing),
            lambda part, allowed: part.search(query, k, allowed, scattered),
        )

    def nearest(
        self, query: Float32Array, k: int = 10, *, filter: Any | None = None
    ) -> CollectionResult:
        """Return the best `k` documents by their dense vectors, which the collection has."""
        check_k(k)
        return self._best(
            k,
            filter,
            lambda view, passing: view.nearest(query, k, passing),
            lambda part, allowed: part.nearest(query, k, allowed),
        )

    def _best(
        self,
        k: int,
        filter: Any | None,
        of_segment: Callable[[SegmentView, Passing | None], SearchResult],
        of_part: Callable[[Part, UInt64Array], SearchResult],
    ) -> CollectionResult:
        """Return the best of what every segment and every part of the head gives."""
        test = self.bound(filter)
        numbers: list[Int64Array] = []
        found: list[SearchResult] = []
        ids: list[Callable[[int], str]] = []
        for view in self.segments:
            if not view.n_alive:
                continue
            passing = view.segment.passing(*test) if test is not None else None
            found.append(of_segment(view, passing))
            numbers.append(view.segment.numbers[found[-1].rows])
            ids.append(view.segment.doc_ids.__getitem__)
        for part in self.head.parts:
            allowed = part.alive & part.passing(*test) if test is not None else part.alive
            found.append(of_part(part, allowed))
            numbers.append(part.numbers[found[-1].rows])
            ids.append(part.doc_id)
        if not found:
            return CollectionResult(np.empty(0, np.int64), [], np.empty(0, np.float32))
        scores = np.concatenate([result.scores for result in found])
        # Stable: the parts come in number order, and so do equal scores within one.
        order = np.argsort(-scores, kind="stable")[:k]
        rows = np.concatenate([result.rows for result in found])[order].tolist()
        ends = list(accumulate(len(result.rows) for result in found))
        doc_ids = [
            ids[bisect_right(ends, at)](row) for at, row in zip(order.tolist(), rows, strict=True)
        ]
        return CollectionResult(np.concatenate(numbers)[order], doc_ids, scores[order])

    def shortcut(
        self, query: SparseVector, number: int, k: int, params: Any | None
    ) -> tuple[str, str]:
        """Return which shortcut kept a document out, as `SparseIndex.shortcut` does."""
        for view in self.segments:
            for row in view.segment.rows_of_numbers(np.array([number])).tolist():
                # Small segments are exact, whatever the collection's layout is.
                kept = params if view.segment.index.params_model is not None else None
                return view.segment.index.shortcut(query, row, k, params=kept)
        return "below_kth_score", "ties with it up to rounding, and stands behind it."

    def doc_ids(self, filter: Any | None = None) -> Iterator[str]:
        """Yield the ids of the live documents that pass, by number."""
        segments, parts = self._passing(filter)
        for view, words in zip(self.segments, segments, strict=True):
            for row in rows_of(words, view.segment.n_rows).tolist():
                yield view.segment.doc_ids[row]
        for part, words in zip(self.head.parts, parts, strict=True):
            for row in rows_of(words, len(part.rows)).tolist():
                yield part.doc_id(row)

    def count(self, filter: Any | None = None) -> int:
        """Return how many live documents pass."""
        if filter is None:
            return self.n_documents
        segments, parts = self._passing(filter)
        return sum(count_rows(words) for words in (*segments, *parts))

    def _passing(self, filter: Any | None) -> tuple[list[UInt64Array], list[UInt64Array]]:
        """Return the bitmaps of what lives and passes, by segment and by part of the head."""
        test = self.bound(filter)
        segments = [v.alive if len(v.alive) else all_rows(v.segment.n_rows) for v in self.segments]
        parts = [part.alive for part in self.head.parts]
        if test is not None:
            segments = [
                words & view.segment.passing(*test).words
                for words, view in zip(segments, self.segments, strict=True)
            ]
            parts = [
                words & part.passing(*test)
                for words, part in zip(parts, self.head.parts, strict=True)
            ]
        return segments, parts
