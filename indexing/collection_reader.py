"""Reading a live collection: searching it, sparse and dense, its documents, explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from indexing.base import check_query
from indexing.collection_follower import CollectionFollower
from indexing.collection_view import CollectionResult, CollectionView
from indexing.dense_flat import check_dense
from indexing.explain import Absence, Explanation, explain_vectors, filtered_out, judge
from indexing.filters_fields import field_values
from indexing.filters_language import matches
from indexing.live_transactions import ReadTransaction
from indexing.storage import layout_class
from indexing.threads import gather
from lsr.core.errors import ArgumentError, DocumentNotFoundError
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector

__all__ = ["CollectionReader"]


class CollectionReader(CollectionFollower):
    """The reading half of `indexing.collection.Collection`; opened by `Collection.open`.

    Every search and every look at documents is of the latest generation
    (`indexing.collection_follower`).
    """

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,
        with_documents: bool = False,
    ) -> CollectionResult:
        """Return the best `k` documents: score descending, then in the order they were written.

        Parameters
        ----------
        query : SparseVector
            An empty query has an empty result.
        k : int
            1 to `indexing.base.MAX_K`.
        params : optional
            Search parameters of the segments' layout.
        filter : optional
            JSON (text or objects) in the filter language, or a parsed filter
            (`indexing.filters_language`).
        with_documents : bool
            Fetch the documents too.

        Raises
        ------
        ArgumentError, VocabularyMismatchError
            If `k`, `params` or the query break their rules.
        FilterError
            If the filter does, or names an unknown field.
        """

        def both(view: CollectionView, look: ReadTransaction) -> CollectionResult | None:
            found = view.search(query, k, params=params, filter=filter)
            documents = look.documents(found.numbers.tolist())
            if len(documents) < len(found):
                return None
            return replace(found, documents=[documents[n] for n in found.numbers.tolist()])

        view = self.view()
        self._check_params(params)
        if not with_documents:
            return view.search(query, k, params=params, filter=filter)
        with self._store.read() as look:
            result = both(view, look)
        if result is None:
            # A document was replaced since: once more, with view and store in step.
            result = self._at_rest(both)
        assert result is not None, "store and view were in step"
        return result

    def search_both(
        self,
        query: SparseVector,
        dense: Float32Array,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,
    ) -> tuple[CollectionResult, CollectionResult]:
        """Return the best `k` documents by their sparse and by their dense vectors.

        Both are of one generation, so what one of them finds the other could have found. The
        second has `k` documents whenever so many pass, negative scores among them.

        Parameters
        ----------
        dense : float32, shape (width,)
            The query for the dense half; the others are as for `search`.

        Raises
        ------
        ArgumentError
            If there is no dense half; else as `search`.
        DataError
            If `dense` has another width, or values that are not finite.
        MissingDependencyError
            If faiss is not installed.
        """
        (near,) = self.check_dense_queries([dense])
        view = self.view()
        self._check_params(params)
        return (
            view.search(query, k, params=params, filter=filter),
            view.nearest(near, k, filter=filter),
        )

    def check_dense_queries(self, queries: Sequence[Float32Array] | Float32Array) -> Float32Array:
        """Return the queries for the dense half, one a row; raises as `search_both` does."""
        self._require_dense()
        return check_dense(queries, self.widths.dense, ["the query"] * len(queries))

    def _require_dense(self) -> None:
        if not self.widths.dense:
            raise ArgumentError(
                f"The collection {self.path.name!r} has no dense half.",
                hint="A new collection can have one: lsr index create --dense MODEL.",
            )

    def _check_params(self, params: Any | None) -> None:
        """Check parameters here too: there may be no segment to do it."""
        layout = self.config.index.layout.kind
        model = layout_class(layout).params_model
        if params is None or (model is not None and isinstance(params, model)):
            return
        takes = "no parameters" if model is None else model.__name__
        raise ArgumentError(
            f"A search of {layout} segments takes {takes}, got {type(params).__name__}."
        )

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[CollectionResult]:
        """Return the best `k` documents of every query, all of one generation."""
        view = self.view()
        self._check_params(params)

        def run(at: int) -> CollectionResult:
            return view.search(queries.row(at), k, params=params, filter=filter)

        return gather(run, queries.n_rows, n_threads)

    def search_both_batch(
        self,
        queries: SparseMatrix,
        dense: Float32Array,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[tuple[CollectionResult, CollectionResult]]:
        """Return what `search_both` returns for every query, all of one generation."""
        near = self.check_dense_queries(dense)
        view = self.view()
        self._check_params(params)

        def run(at: int) -> tuple[CollectionResult, CollectionResult]:
            return (
                view.search(queries.row(at), k, params=params, filter=filter),
                view.nearest(near[at], k, filter=filter),
            )

        return gather(run, queries.n_rows, n_threads)

    def document(self, doc_id: str) -> Document:
        """Return a document.

        Raises
        ------
        DocumentNotFoundError
            If none of this id lives.
        """
        with self._store.read() as look:
            number = self._number(look, doc_id)
            return look.documents([number])[number]

    def documents(self, doc_ids: Sequence[str]) -> list[Document | None]:
        """Return the documents of `doc_ids`, in that order; None where none lives."""
        with self._store.read() as look:
            numbers = look.numbers(list(doc_ids))
            found = look.documents(list(numbers.values()))
        return [found[numbers[d]] if d in numbers else None for d in doc_ids]

    def documents_with_origins(
        self, doc_ids: Sequence[str]
    ) -> list[tuple[Document, tuple[Int32Array, Origins] | None] | None]:
        """Return documents as `documents` does, each with its terms and where they come from.

        The latter is None where it was not kept.
        """
        with self._store.read() as look:
            numbers = look.numbers(list(doc_ids))
            found = look.documents(list(numbers.values()))
            origins = look.origins(list(numbers.values()))
        return [(found[numbers[d]], origins[numbers[d]]) if d in numbers else None for d in doc_ids]

    def vector(self, doc_id: str) -> SparseVector:
        """Return a document's vector as it was written.

        Raises
        ------
        DocumentNotFoundError
            If none of this id lives.
        """
        with self._store.read() as look:
            vector = look.vector(self._number(look, doc_id))
        assert vector is not None, "documents and vectors change in one transaction"
        return vector

    def dense_vector(self, doc_id: str) -> Float32Array:
        """Return a document's dense vector as it was written.

        Raises
        ------
        ArgumentError
            If there is no dense half.
        DocumentNotFoundError
            If none of this id lives.
        """
        self._require_dense()
        with self._store.read() as look:
            vector = look.dense_vector(self._number(look, doc_id))
        assert vector is not None, "documents and vectors change in one transaction"
        return vector

    def _number(self, look: ReadTransaction, doc_id: str) -> int:
        number = look.numbers([doc_id]).get(doc_id)
        if number is None:
            raise DocumentNotFoundError(
                f"The collection {self.path.name!r} has no document {doc_id!r}.",
                hint="Identifiers are exact: case, spaces and punctuation count.",
            )
        return number

    def explain(self, query: SparseVector, doc_id: str) -> Explanation:
        """Return what each term gives to the score of a document, found or not; its row is 0."""
        check_query(query, self.vocabulary_size)
        return explain_vectors(query, self.vector(doc_id), 0, self.vocabulary)

    def why_not(
        self,
        query: SparseVector,
        doc_id: str,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,
    ) -> Absence:
        """Return why a document is not in the best `k` of a search, or at which rank it is.

        The absence's `row` is the document's number. Raises as `search` and `document` do.
        """
        self._check_params(params)

        def judged(view: CollectionView, look: ReadTransaction) -> Absence:
            number = self._number(look, doc_id)
            found = view.search(query, k, params=params, filter=filter)
            at = np.flatnonzero(found.numbers == number)
            vector = look.vector(number)
            assert vector is not None, "documents and vectors change in one transaction"
            if (bound := view.bound(filter)) is not None:
                metadata = look.documents([number])[number].metadata
                fields = field_values(doc_id, metadata, view.types, {})
                if not matches(bound[0], fields):
                    return filtered_out(number, query.dot(vector), k, found.scores)
            return judge(
                number,
                query.dot(vector),
                k,
                rank=int(at[0]) + 1 if len(at) else None,
                scores=found.scores,
                shortcut=lambda: view.shortcut(query, number, k, params),
            )

        return self._at_rest(judged)

    def doc_ids(self, filter: Any | None = None) -> Iterator[str]:
        """Yield the ids of the documents that pass `filter`, in the order they were written."""
        return self.view().doc_ids(filter)

    def count(self, filter: Any | None = None) -> int:
        """Return how many documents pass `filter`."""
        return self.view().count(filter)
