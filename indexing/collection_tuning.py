"""Search parameters for a recall on a live collection: measured at one generation.

A collection changes, so a recall that was measured holds for as long as the collection is like the
one it was measured on. What can be checked of that is its size: with less than half or more than
twice the documents of then, the figure is not used any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.base import BatchResult
from indexing.collection_reader import CollectionReader
from indexing.collection_view import CollectionResult
from indexing.storage import layout_class
from indexing.threads import resolve_threads, run_parallel
from indexing.tuning import Point, Tuning, TuningOptions, load_tuning, save_tuning, tune
from lsr.core.config import Config
from lsr.core.errors import ArgumentError
from lsr.core.sparse import SparseMatrix, SparseVector

__all__ = ["collection_params_for", "collection_tuning", "tune_collection"]

_MOST_GROWTH = 2


class _Still:
    """A collection at one generation, as `indexing.tuning.tune` measures it."""

    def __init__(self, collection: CollectionReader) -> None:
        self._view = collection.view()
        self.n_documents = self._view.n_documents
        self.kind = collection.config.index.layout.kind
        self.params_model: type[Config] | None = layout_class(self.kind).params_model
        self.vocabulary_size = collection.vocabulary_size

    def search(
        self, query: SparseVector, k: int = 10, *, params: Any | None = None
    ) -> CollectionResult:
        return self._view.search(query, k, params=params)

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: Any | None = None,
        n_threads: int | None = None,
    ) -> BatchResult:
        # The rows are the documents' numbers; a recall asks only whether there is one.
        rows = np.full((queries.n_rows, k), -1, dtype=np.int32)
        scores = np.zeros((queries.n_rows, k), dtype=np.float32)

        def run(at: int) -> None:
            found = self._view.search(queries.row(at), k, params=params)
            rows[at, : len(found)] = found.numbers.astype(np.int32)
            scores[at, : len(found)] = found.scores

        run_parallel(run, queries.n_rows, resolve_threads(n_threads))
        return BatchResult(rows, scores)


def tune_collection(
    collection: CollectionReader, queries: SparseMatrix, options: TuningOptions
) -> Tuning:
    """Tune a collection, keep the result in its folder and return it.

    Parameters
    ----------
    collection : CollectionReader
        Read or written meanwhile: what is measured is its generation of now.
    queries, options
        As for `indexing.tuning.tune`.

    Raises
    ------
    ArgumentError, CheckFailedError
        As `indexing.tuning.tune` does.
    """
    still = _Still(collection)
    made = tune(still, queries, options)

    def noted(point: Point) -> Point:
        return point.model_copy(update={"n_documents": still.n_documents})

    made = made.model_copy(update={"targets": {t: noted(p) for t, p in made.targets.items()}})
    return save_tuning(collection.path, made)


def collection_tuning(collection: CollectionReader) -> Tuning | None:
    """Return what was measured on a collection, or None."""
    return load_tuning(collection.path, layout=collection.config.index.layout.kind)


def collection_params_for(collection: CollectionReader, target_recall: float) -> Config:
    """Return the fastest search parameters that were measured to reach a recall.

    Raises
    ------
    ArgumentError
        If the collection has not been tuned for it, or is another one by now.
    """
    tuning = collection_tuning(collection)
    model = layout_class(collection.config.index.layout.kind).params_model
    name = collection.path.name
    hint = f"Tune it: POST /v1/indexes/{name}/tune, or lsr index tune."
    if tuning is None or model is None:
        raise ArgumentError(f"The collection {name!r} is not tuned.", hint=hint)
    point = tuning.for_recall(target_recall)
    then, now = point.n_documents or 0, collection.n_documents
    if now > _MOST_GROWTH * then or then > _MOST_GROWTH * now:
        raise ArgumentError(
            f"The collection {name!r} was tuned with {then:,} documents and has {now:,} now: what "
            "was measured does not hold any more.",
            hint=hint,
        )
    params: Config = model(**point.params)
    return params
