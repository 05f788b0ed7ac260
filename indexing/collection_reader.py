"""Reading a live collection: the latest generation, whoever writes.

A reader asks the store at every search whether there is a newer generation (microseconds) and takes
over only what changed: new rows of the head, new tombstones, new segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from indexing.base import check_query
from indexing.collection_config import CollectionConfig
from indexing.collection_head import Head
from indexing.collection_maintenance import head_rows
from indexing.collection_segment import Segment, SegmentView
from indexing.collection_view import CollectionResult, CollectionView
from indexing.dense_flat import check_dense
from indexing.explain import Absence, Explanation, explain_vectors, filtered_out, judge
from indexing.filters_fields import field_values
from indexing.filters_language import matches
from indexing.live_rows import Widths
from indexing.live_store import STORE_NAME, LiveStore
from indexing.live_transactions import ReadTransaction
from indexing.storage import QUERY_ENCODER_FOLDER, layout_class
from indexing.threads import gather
from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    ArtifactNotFoundError,
    DocumentNotFoundError,
)
from lsr.core.manifest import Manifest
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary

__all__ = ["DENSE_ENCODER_FOLDER", "SEGMENTS_FOLDER", "CollectionReader"]

SEGMENTS_FOLDER = "segments"
DENSE_ENCODER_FOLDER = "dense_encoder"
T = TypeVar("T")
_LARGEST = 2**63 - 1


class CollectionReader:
    """The reading half of `indexing.collection.Collection`; opened by `Collection.open`.

    Attributes
    ----------
    path : Path
    manifest : Manifest
        ``details`` holds ``vocabulary_size``, ``vocabulary_fingerprint``, ``encoder``, ``idf``,
        and ``dense`` where there is a dense half: ``width``, ``encoder``, ``fingerprint``.
    config : CollectionConfig
    vocabulary : Vocabulary
    widths : Widths
        Of the vectors, sparse and dense.
    writable : bool
    """

    def __init__(self, path: Path, manifest: Manifest, *, writable: bool) -> None:
        self.path = path
        self.manifest = manifest
        self.config = CollectionConfig.model_validate(manifest.config)
        self.vocabulary = Vocabulary.load(path / "vocabulary.json")
        self.widths = Widths.of(manifest)
        self.writable = writable
        self._segments_folder = path / SEGMENTS_FOLDER
        self._store = LiveStore(path / STORE_NAME, self.widths, writable=writable)
        self._refreshing = Lock()
        self._version = -1
        self._trouble: Exception | None = None
        try:
            self._view = self._load(None)
        except BaseException:
            self._store.close()
            raise

    def _load(self, old: CollectionView | None) -> CollectionView:
        """Return the view of the latest generation; what `old` has open is used again."""
        return self._loaded(old, lambda view, look: view)

    def _loaded(
        self, old: CollectionView | None, use: Callable[[CollectionView, ReadTransaction], T]
    ) -> T:
        """Return ``use(view, look)`` for the latest generation and a look at exactly that one."""
        missing_in = -1
        while True:
            with self._store.read() as look:
                structure = look.state().structure
                try:
                    view = self._look(look, old)
                except ArtifactNotFoundError:
                    # Merged away between our look at the store and our look at the folder; twice
                    # in one structure it is truly not there.
                    if structure == missing_in:
                        raise
                    missing_in = structure
                    continue
                return use(view, look)

    def _at_rest(self, use: Callable[[CollectionView, ReadTransaction], T]) -> T:
        """Return ``use(view, look)`` where store and view are of one generation for certain."""
        with self._refreshing:
            return self._loaded(self._view, use)

    def _look(self, look: ReadTransaction, old: CollectionView | None) -> CollectionView:
        state = look.state()
        types = {**self.config.fields, **look.fields()}
        head = Head(len(self.vocabulary))
        if old is not None and old.structure == state.structure:
            gone = look.tombstones_since(old.generation)
            views = [view.without(gone) for view in old.segments]
            sealed = old.sealed
            head = old.head.without(gone)
        else:
            views = self._open_segments(look, old)
            sealed = views[-1].segment.row.last if views else -1
            if old is not None:
                head = _living(old.head.beyond(sealed, types), look)
        known = max(sealed, old.head.last_number if old is not None else -1)
        head = head.added(list(head_rows(look, known + 1, _LARGEST, types)), types)
        view = CollectionView(
            generation=state.generation,
            structure=state.structure,
            segments=views,
            head=head,
            types=types,
            n_documents=state.n_documents,
            vocabulary_size=len(self.vocabulary),
        )
        n_seen = sum(v.n_alive for v in views) + head.n_documents
        if n_seen != state.n_documents:
            raise ArtifactCorruptedError(
                f"{self.path}: segments and head hold {n_seen} documents, the store "
                f"{state.n_documents}.",
                hint="Build the segments again from the store: lsr index repair.",
            )
        return view

    def _open_segments(
        self, look: ReadTransaction, old: CollectionView | None
    ) -> list[SegmentView]:
        opened = {v.segment.row.name: v.segment for v in old.segments} if old is not None else {}
        views = []
        for row in look.segments():
            segment = opened.get(row.name) or Segment.open(self._segments_folder / row.name, row)
            views.append(SegmentView.of(segment, row, look.tombstones(row.first, row.last)))
        return views

    def view(self) -> CollectionView:
        """Return the latest generation; it stays as it is while others write."""
        if self.writable:
            return self._view
        if self._store.version() != self._version:
            # Whoever comes while another thread takes over the news waits for it: a write that
            # was acknowledged before this call must be seen by it.
            with self._refreshing:
                version = self._store.version()
                if version != self._version:
                    self._view = self._load(self._view)
                    self._version = version
        return self._view

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
        if not self.widths.dense:
            raise ArgumentError(
                f"The collection {self.path.name!r} has no dense half.",
                hint="A new collection can have one: lsr index create --dense MODEL.",
            )
        return check_dense(queries, self.widths.dense, ["the query"] * len(queries))

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
        self.check_dense_queries([])
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

    @property
    def n_documents(self) -> int:
        """Number of live documents."""
        return self.view().n_documents

    @property
    def vocabulary_size(self) -> int:
        """Number of columns of the vectors."""
        return len(self.vocabulary)

    @property
    def fields(self) -> dict[str, str]:
        """Types of the metadata fields by name."""
        return dict(self.view().types)

    @property
    def query_encoder_path(self) -> Path | None:
        """Folder of the query side, or None where there is none."""
        path = self.path / QUERY_ENCODER_FOLDER
        return path if path.is_dir() else None

    @property
    def dense_encoder_path(self) -> Path | None:
        """Folder of the dense half's bi-encoder, or None where there is none."""
        path = self.path / DENSE_ENCODER_FOLDER
        return path if path.is_dir() else None

    def __len__(self) -> int:
        return self.n_documents

    def __contains__(self, doc_id: object) -> bool:
        with self._store.read() as look:
            return isinstance(doc_id, str) and bool(look.numbers([doc_id]))

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes: documents, head, segments, log."""
        view = self.view()
        return {
            "n_documents": view.n_documents,
            "generation": view.generation,
            "head_documents": view.head.n_documents,
            "segments": [
                {
                    "name": v.segment.row.name,
                    "layout": v.segment.index.kind,
                    "n_rows": v.segment.n_rows,
                    "n_alive": v.n_alive,
                    "bytes": v.segment.n_bytes,
                }
                for v in view.segments
            ],
            "store_bytes": (self.path / STORE_NAME).stat().st_size,
            "log_bytes": self._store.log_bytes,
            "trouble": str(self._trouble) if self._trouble else None,
        }


def _living(head: Head, look: ReadTransaction) -> Head:
    """Return an older head without what has died since.

    Tombstones do not tell it: rows of the head may have been sealed, have died, and their segment
    have been merged away to nothing, its tombstones with it, before this reader looked again.
    """
    if not head.parts:
        return head
    numbers = np.concatenate([part.numbers for part in head.parts])
    alive = look.live_numbers(int(numbers[0]), int(numbers[-1]))
    return head.without(np.setdiff1d(numbers, alive, assume_unique=True))
