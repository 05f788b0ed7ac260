"""What a live collection should be: a dict, and brute force over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from indexing.collection import Collection
from indexing.filters_fields import field_values
from indexing.filters_language import bind, matches, parse_filter
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, SparseVector

__all__ = ["FIELDS", "LiveModel", "memory_folder", "require_same"]

FIELDS = {"lang": "string", "year": "number", "open": "boolean", "day": "date", "tags": "string"}
"""Declared types of the fields that tests use."""


def memory_folder() -> str | None:
    """Return a folder in memory where there is one: tests that do not crash need no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class LiveModel:
    """Documents and vectors by id, in the order in which they were last written.

    Dense vectors are held apart: a collection may have none.
    """

    def __init__(self) -> None:
        self.documents: dict[str, tuple[Document, SparseVector]] = {}
        self.dense: dict[str, Float32Array] = {}

    def upsert(
        self, document: Document, vector: SparseVector, dense: Float32Array | None = None
    ) -> None:
        self.documents.pop(document.doc_id, None)
        self.documents[document.doc_id] = (document, vector)
        if dense is not None:
            self.dense[document.doc_id] = dense

    def delete(self, doc_id: str) -> None:
        self.documents.pop(doc_id, None)

    def copy(self) -> LiveModel:
        made = LiveModel()
        made.documents = dict(self.documents)
        made.dense = dict(self.dense)
        return made

    def passing(self, raw: Mapping[str, Any] | None) -> list[str]:
        """Return the ids that pass a filter, in order."""
        if raw is None:
            return list(self.documents)
        test = bind(parse_filter(raw), FIELDS)
        return [
            doc_id
            for doc_id, (document, _) in self.documents.items()
            if matches(test, field_values(doc_id, document.metadata, FIELDS, {}))
        ]

    def search(
        self, query: SparseVector, k: int, raw: Mapping[str, Any] | None = None
    ) -> tuple[list[str], list[float]]:
        """Return the best ids and float32 scores, summed in the order of the terms."""
        weights = dict(zip(query.terms.tolist(), query.weights, strict=True))
        scored = []
        for at, doc_id in enumerate(self.passing(raw)):
            vector = self.documents[doc_id][1]
            total = np.float32(0)
            for term, weight in zip(vector.terms.tolist(), vector.weights, strict=True):
                if term in weights:
                    total += weights[term] * weight
            if total > 0:
                scored.append((-float(total), at, doc_id))
        scored.sort()
        return [d for _, _, d in scored[:k]], [-s for s, _, _ in scored[:k]]

    def nearest(
        self, query: Float32Array, k: int, raw: Mapping[str, Any] | None = None
    ) -> tuple[list[str], list[float]]:
        """Return the best ids and scores by dense vectors, whose products must be exact."""
        scored = [
            (-float(np.dot(self.dense[doc_id], query)), at, doc_id)
            for at, doc_id in enumerate(self.passing(raw))
        ]
        scored.sort()
        return [d for _, _, d in scored[:k]], [-s for s, _, _ in scored[:k]]


def require_same(
    collection: Collection,
    model: LiveModel,
    queries: list[SparseVector],
    *,
    k: int = 5,
    filters: list[Mapping[str, Any]] | None = None,
    dense_queries: list[Float32Array] | None = None,
) -> None:
    """Assert that a collection is its model: document by document, score by score.

    With `dense_queries`, one for each of `queries`, both halves.
    """
    assert collection.n_documents == len(model.documents)
    assert list(collection.doc_ids()) == list(model.documents)
    for doc_id, (document, vector) in model.documents.items():
        assert collection.document(doc_id) == document
        assert collection.vector(doc_id) == vector
        if dense_queries is not None:
            assert np.array_equal(collection.dense_vector(doc_id), model.dense[doc_id])
    for at, query in enumerate(queries):
        for raw in (None, *(filters or [])):
            found = collection.search(query, k, filter=raw, with_documents=True)
            doc_ids, scores = model.search(query, k, raw)
            assert found.doc_ids == doc_ids, raw
            assert found.scores.tolist() == scores
            assert found.documents == [model.documents[d][0] for d in doc_ids]
            if dense_queries is None:
                continue
            both = collection.search_both(query, dense_queries[at], k, filter=raw)
            assert (both[0].doc_ids, both[0].scores.tolist()) == (doc_ids, scores)
            expected = model.nearest(dense_queries[at], k, raw)
            assert (both[1].doc_ids, both[1].scores.tolist()) == expected, raw
