"""A live collection as a source: searched like an index, and written to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.collection import Batch, Collection, UpsertResult
from indexing.collection_view import CollectionResult
from indexing.dense_encoder import DenseEncoder
from indexing.explain import Explanation
from indexing.storage import layout_class
from lsr.core.config import Config
from lsr.core.errors import LsrError
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, SparseMatrix, SparseVector
from serving.hybrid import DenseHalf
from serving.results import Found

if TYPE_CHECKING:
    from indexing.tuning import Tuning, TuningOptions

__all__ = ["CollectionSource"]


class CollectionSource:
    """A live collection.

    Parameters
    ----------
    collection : Collection
        Open; closed by `close`.
    """

    has_documents = True

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.path: Path = collection.path
        self.layout: str = collection.config.index.layout.kind
        self.vocabulary = collection.vocabulary
        self.query_encoder_path = collection.query_encoder_path
        self.created: str = collection.manifest.created
        self.updatable = collection.writable
        self.dense = _dense_half(collection)

    @property
    def n_documents(self) -> int:
        """Number of live documents."""
        return self.collection.n_documents

    @property
    def generation(self) -> int:
        """Another number after every write."""
        return self.collection.view().generation

    @property
    def fields(self) -> dict[str, str]:
        """Types of the metadata fields by name."""
        return self.collection.fields

    @property
    def params_model(self) -> type[Config] | None:
        """The search parameters of the segments' layout."""
        model: type[Config] | None = layout_class(self.layout).params_model
        return model

    def warm_up(self) -> None:
        """Run the kernels of segments and head: the collection may still be empty."""
        from indexing.warmup import warm_up_live

        warm_up_live(self.layout, self.collection.vocabulary_size)

    def bytes_by_part(self) -> dict[str, int]:
        """Return the sizes of the segments' arrays."""
        return {s["name"]: int(s["bytes"]) for s in self.collection.stats()["segments"]}

    def params_for(self, target_recall: float) -> Config | None:
        """Return the tuned parameters for a recall; None for the exact layout, which reaches all.

        Raises
        ------
        ArgumentError
            If the collection has not been tuned for it, or has changed too much since.
        """
        if self.params_model is None:
            return None
        from indexing.collection_tuning import collection_params_for

        return collection_params_for(self.collection, target_recall)

    @property
    def tuning(self) -> Tuning | None:
        """What was measured, or None."""
        from indexing.collection_tuning import collection_tuning

        return collection_tuning(self.collection)

    def tune(self, queries: SparseMatrix, options: TuningOptions) -> Tuning:
        """Measure which parameters reach a recall now, keep it and return it."""
        from indexing.collection_tuning import tune_collection

        return tune_collection(self.collection, queries, options)

    def search(
        self,
        query: SparseVector,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> Found:
        """Return the best `k` documents of the latest state that pass `filter`."""
        return _found(self.collection.search(query, k, params=params, filter=filter))

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        n_threads: int | None = None,
    ) -> list[Found]:
        """Return the best `k` documents of every query, all of one state."""
        results = self.collection.search_batch(
            queries, k, params=params, filter=filter, n_threads=n_threads
        )
        return [_found(result) for result in results]

    def search_both(
        self,
        query: SparseVector,
        dense: Float32Array,
        k: int,
        *,
        params: Config | None = None,
        filter: Any | None = None,
    ) -> tuple[Found, Found]:
        """Return the best `k` that pass by sparse and by dense vectors, of one state."""
        sparse, near = self.collection.search_both(query, dense, k, params=params, filter=filter)
        return _found(sparse), _found(near)

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
        """Return what `search_both` returns for every query, all of one state."""
        results = self.collection.search_both_batch(
            queries, dense, k, params=params, filter=filter, n_threads=n_threads
        )
        return [(_found(sparse), _found(near)) for sparse, near in results]

    def with_documents(self, found: Found, *, origins: bool = False) -> Found:
        """Return `found` with its documents; those deleted since are left out."""
        if not origins:
            documents = self.collection.documents(found.doc_ids)
            kept = [at for at, document in enumerate(documents) if document is not None]
            return _of(found, kept)._replace(documents=[d for d in documents if d is not None])
        pairs = self.collection.documents_with_origins(found.doc_ids)
        kept = [at for at, pair in enumerate(pairs) if pair is not None]
        living = [pair for pair in pairs if pair is not None]
        return _of(found, kept)._replace(
            documents=[document for document, _ in living],
            origins=[origins for _, origins in living],
        )

    def document(self, doc_id: str) -> Document:
        """Return a document; raises DocumentNotFoundError if there is none."""
        return self.collection.document(doc_id)

    def vector(self, doc_id: str) -> SparseVector:
        """Return a document's vector; raises DocumentNotFoundError if there is none."""
        return self.collection.vector(doc_id)

    def dense_vector(self, doc_id: str) -> Float32Array:
        """Return a document's dense vector; raises DocumentNotFoundError if there is none."""
        return self.collection.dense_vector(doc_id)

    def explain(self, query: SparseVector, doc_id: str) -> Explanation:
        """Return what each term gives to the score of a document, found or not."""
        return self.collection.explain(query, doc_id)

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
        absence = self.collection.why_not(query, doc_id, k, params=params, filter=filter)
        return absence.reason, absence.message

    def upsert_groups(self, groups: Sequence[Batch]) -> list[UpsertResult | LsrError]:
        """Write groups of documents, each whole or not at all, synced once; return what each did."""
        return self.collection.upsert_groups(groups)

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete the documents of those ids that live; return how many."""
        return self.collection.delete(doc_ids)

    def delete_where(self, filter: Any) -> int:
        """Delete the documents that pass a filter; return how many."""
        return self.collection.delete_where(filter)

    def close(self) -> None:
        """Stop maintenance and let the lock go."""
        self.collection.close()


def _dense_half(collection: Collection) -> DenseHalf | None:
    if not collection.widths.dense:
        return None
    path = collection.dense_encoder_path
    if path is None:
        return DenseHalf(collection.widths.dense, name=None, load=None)
    # One object: it keeps its model once that is loaded.
    encoder = DenseEncoder(path)
    name = str(collection.manifest.details["dense"]["encoder"])
    return DenseHalf(collection.widths.dense, name=name, load=lambda: encoder)


def _found(result: CollectionResult) -> Found:
    return Found(result.doc_ids, result.scores.tolist(), result.numbers.tolist())


def _of(found: Found, kept: list[int]) -> Found:
    """Return some of the documents found."""
    return Found(
        [found.doc_ids[at] for at in kept],
        [found.scores[at] for at in kept],
        [found.keys[at] for at in kept],
        parts=None if found.parts is None else [found.parts[at] for at in kept],
    )
