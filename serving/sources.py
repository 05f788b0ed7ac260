"""What an engine searches: an index folder, or anything else that answers like one.

A source knows documents by their identifiers. Rows, segments and heads stay behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from indexing.dense_folder import DenseFolder
from indexing.explain import Explanation, explain, why_not
from indexing.live_store import STORE_NAME
from indexing.storage import IndexFolder
from indexing.threads import gather
from lsr.core.config import Config
from lsr.core.errors import DocumentNotFoundError
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from serving.hybrid import DenseHalf
from serving.results import Found

if TYPE_CHECKING:
    from indexing.tuning import Tuning, TuningOptions

__all__ = [
    "FolderSource",
    "Source",
    "open_source",
    "overlap",
    "takes_writes",
]


class Source(Protocol):
    """A set of documents that can be searched; every method may run in many threads at once."""

    @property
    def path(self) -> Path:
        """Where it stands on disk."""

    @property
    def layout(self) -> str:
        """The kind of the index behind it."""

    @property
    def n_documents(self) -> int:
        """Number of documents that can be found."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its vectors."""

    @property
    def query_encoder_path(self) -> Path | None:
        """Folder of the query side, or None."""

    @property
    def generation(self) -> int:
        """Another number after every write."""

    @property
    def has_documents(self) -> bool:
        """Whether the texts are stored."""

    @property
    def updatable(self) -> bool:
        """Whether documents can be written and deleted."""

    @property
    def fields(self) -> dict[str, str]:
        """Types of the metadata fields that filters may name."""

    @property
    def created(self) -> str:
        """When it was made, in ISO format."""

    @property
    def params_model(self) -> type[Config] | None:
        """The search parameters of its layout; None if it has none."""

    @property
    def dense(self) -> DenseHalf | None:
        """The dense half; None where there is none."""

    def warm_up(self) -> None:
        """Run what searching what is there would not run yet."""

    def bytes_by_part(self) -> dict[str, int]:
        """Return the sizes of the index's arrays."""

    def params_for(self, target_recall: float) -> Config | None:
        """Return the tuned parameters for a recall; raises ArgumentError if there are none."""

    @property
    def tuning(self) -> Tuning | None:
        """What was measured, or None."""

    def tune(self, queries: SparseMatrix, options: TuningOptions) -> Tuning:
        """Measure which parameters reach a recall, keep it with the index and return it."""

    def search(
        self,
        query: SparseVector,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> Found:
        """Return the best `k` documents that pass `filter`."""

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[Found]:
        """Return the best `k` documents of every query, in the order of the queries."""

    def search_both(
        self,
        query: SparseVector,
        dense: Float32Array,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> tuple[Found, Found]:
        """Return the best `k` that pass `filter` by sparse and by dense vectors, of one state."""

    def search_both_batch(
        self,
        queries: SparseMatrix,
        dense: Float32Array,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[tuple[Found, Found]]:
        """Return what `search_both` returns for every query, in their order."""

    def with_documents(self, found: Found, *, origins: bool = False) -> Found:
        """Return `found` with its documents; what was deleted meanwhile is left out.

        With `origins` also where their terms come from, as far as that was kept.
        """

    def document(self, doc_id: str) -> Document:
        """Return a stored document; raises DocumentNotFoundError if there is none."""

    def vector(self, doc_id: str) -> SparseVector:
        """Return a document's vector; raises DocumentNotFoundError if there is none."""

    def dense_vector(self, doc_id: str) -> Float32Array:
        """Return a document's dense vector; raises DocumentNotFoundError if there is none."""

    def explain(self, query: SparseVector, doc_id: str) -> Explanation:
        """Return what each term gives to the score of a document, found or not."""

    def why_not(
        self,
        query: SparseVector,
        doc_id: str,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> tuple[str, str]:
        """Return why a document is or is not among the best `k`: a code and a sentence."""

    def close(self) -> None:
        """Close its files."""


class FolderSource:
    """An index folder; immutable.

    Parameters
    ----------
    folder : IndexFolder
        Its parts are opened here, so that damage shows now and not in the first request.

    Raises
    ------
    ArtifactCorruptedError
        If a part is damaged.
    """

    updatable = False
    generation = 0

    def __init__(self, folder: IndexFolder) -> None:
        self.folder = folder
        self.fields = folder.fields
        self.path = folder.path
        self.layout = folder.layout
        self.vocabulary = folder.vocabulary
        self.query_encoder_path = folder.query_encoder_path
        self.created = folder.manifest.created
        self._index = folder.index
        self._doc_ids = folder.doc_ids
        self._documents = folder.documents
        self.has_documents = self._documents is not None
        self._dense = dense = DenseFolder.of(folder)
        self.dense = (
            DenseHalf(dense.width, name=dense.encoder_name, load=lambda: dense.encoder)
            if dense is not None
            else None
        )

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return self._index.n_documents

    @property
    def params_model(self) -> type[Config] | None:
        """The search parameters of the layout."""
        return self._index.params_model

    def warm_up(self) -> None:
        """Do nothing: a search of the index runs all there is."""

    def bytes_by_part(self) -> dict[str, int]:
        """Return the sizes of the index's arrays."""
        return self._index.bytes_by_part()

    def params_for(self, target_recall: float) -> Config | None:
        """Return the tuned parameters for a recall; None for the exact layout, which reaches all.

        Raises
        ------
        ArgumentError
            If the index has not been tuned for it.
        """
        return None if self.params_model is None else self.folder.params_for(target_recall)

    @property
    def tuning(self) -> Tuning | None:
        """What was measured, or None."""
        return self.folder.tuning if self.params_model is not None else None

    def tune(self, queries: SparseMatrix, options: TuningOptions) -> Tuning:
        """Measure which parameters reach a recall, keep it with the index and return it."""
        from indexing.tuning import save_tuning, tune

        return save_tuning(self.folder.path, tune(self._index, queries, options))

    def search(
        self,
        query: SparseVector,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> Found:
        """Return the best `k` documents that pass `filter`.

        Raises
        ------
        ArgumentError
            If there is a filter and the index keeps no metadata.
        FilterError
            If the filter breaks a rule.
        """
        return self._found(*self.folder.search(query, k, params=params, filter=filter))

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[Found]:
        """Return the best `k` documents of every query; raises as `search` does."""
        if filter is not None:
            return gather(
                lambda at: self.search(queries.row(at), k, params=params, filter=filter),
                queries.n_rows,
                n_threads,
            )
        results = self._index.search_batch(queries, k, params=params, n_threads=n_threads)
        return [self._found(*results[at]) for at in range(len(results))]

    def search_both(
        self,
        query: SparseVector,
        dense: Float32Array,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> tuple[Found, Found]:
        """Return the best `k` that pass by sparse and by dense vectors; raises as `search` does."""
        return (
            self.search(query, k, params=params, filter=filter),
            self._nearest(dense[None], k, filter=filter)[0],
        )

    def search_both_batch(
        self,
        queries: SparseMatrix,
        dense: Float32Array,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[tuple[Found, Found]]:
        """Return what `search_both` returns for every query."""
        found = self.search_batch(queries, k, params=params, filter=filter, n_threads=n_threads)
        return list(zip(found, self._nearest(dense, k, filter=filter), strict=True))

    def _nearest(self, queries: Float32Array, k: int, *, filter: Any | None) -> list[Found]:
        assert self._dense is not None, "asked only where there is a dense half"
        passing = self.folder.filters.passing(filter) if filter is not None else None
        batch = self._dense.index.search_batch(queries, k, passing=passing)
        return [self._found(*batch[at]) for at in range(len(batch))]

    def _found(self, rows: Int32Array, scores: Float32Array) -> Found:
        return Found([self._doc_ids[row] for row in rows.tolist()], scores.tolist(), rows.tolist())

    def with_documents(self, found: Found, *, origins: bool = False) -> Found:
        """Return `found` with its documents, and where their terms come from."""
        if self._documents is None:
            return found
        found = found._replace(documents=self._documents.get_rows(found.keys))
        if origins and self._documents.has_origins:
            return found._replace(origins=[*self._documents.origins(found.keys)])
        return found

    def document(self, doc_id: str) -> Document:
        """Return a stored document.

        Raises
        ------
        DocumentNotFoundError
            If there is none of this id, or texts are not stored.
        """
        row = self._row(doc_id)
        if self._documents is None:
            raise DocumentNotFoundError(
                f"The index {self.path.name!r} stores identifiers and vectors, but no texts.",
                hint="Build it again with --corpus to store the documents.",
            )
        return self._documents.get_row(row)

    def vector(self, doc_id: str) -> SparseVector:
        """Return a document's vector; raises DocumentNotFoundError if there is none."""
        return self._index.document(self._row(doc_id))

    def dense_vector(self, doc_id: str) -> Float32Array:
        """Return a document's dense vector; raises DocumentNotFoundError if there is none."""
        assert self._dense is not None, "asked only where there is a dense half"
        return self._dense.index.vector(self._row(doc_id))

    def explain(self, query: SparseVector, doc_id: str) -> Explanation:
        """Return what each term gives to the score of a document, found or not."""
        return explain(self._index, query, self._row(doc_id), self.vocabulary)

    def why_not(
        self,
        query: SparseVector,
        doc_id: str,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> tuple[str, str]:
        """Return why a document is or is not among the best `k`; raises as `search` does."""
        row = self._row(doc_id)
        if filter is None:
            absence = why_not(self._index, query, row, k, params=params)
        else:
            absence = self.folder.filters.why_not(
                self._index, query, row, k, params=params, filter=filter
            )
        return absence.reason, absence.message

    def _row(self, doc_id: str) -> int:
        row = self._doc_ids.row(doc_id)
        if row is None:
            raise DocumentNotFoundError(
                f"The index {self.path.name!r} has no document {doc_id!r}.",
                hint="Identifiers are exact: case, spaces and punctuation count.",
            )
        return row

    def close(self) -> None:
        """Close the document store."""
        self.folder.close()


def takes_writes(path: Path) -> bool:
    """Return whether `path` holds a live collection rather than an index folder."""
    return (Path(path) / STORE_NAME).exists()


def open_source(path: Path, *, writable: bool = False) -> Source:
    """Return the index folder or the live collection at `path`; raises as their `open` do."""
    if takes_writes(path):
        # Here: collection_source builds on this module.
        from indexing.collection import Collection
        from serving.collection_source import CollectionSource

        return CollectionSource(Collection.open(path, mode="w" if writable else "r"))
    folder = IndexFolder.open(path)
    try:
        return FolderSource(folder)
    except BaseException:
        folder.close()
        raise


def overlap(found: Sequence[str], exact: Sequence[str]) -> float:
    """Return the share of `exact` that is in `found`; 1 where `exact` is empty."""
    return float(np.isin(exact, found).mean()) if exact else 1.0
