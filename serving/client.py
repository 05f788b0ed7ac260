"""A typed client of the API: the service's own models in and out, the service's own errors.

>>> with Client("http://127.0.0.1:8000") as client:          # doctest: +SKIP
...     answer = client.search("demo", "who rescued the children", k=3, highlight=True)
...     [hit.doc_id for hit in answer.hits]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from lsr.core.errors import ServiceError
from lsr.core.records import Document
from lsr.core.sparse import Float32Array
from serving.client_transport import Transport, error_of
from serving.schemas import IndexInfo, IndexList
from serving.schemas_admin import (
    DeletedResponse,
    EncoderList,
    IndexStats,
    SnapshotInfo,
    SnapshotList,
    TaskBody,
    TaskList,
)
from serving.schemas_search import (
    BatchResponse,
    DocumentBody,
    EncodeResponse,
    ExplainResponse,
    SearchResponse,
)
from serving.schemas_writing import DeleteResponse, ImportResponse, UpsertResponse
from serving.tasks import ENDED

__all__ = ["Client"]

Query = str | Mapping[str, float]
Vectors = Iterable[Mapping[str, float]]
DenseVectors = Iterable[Sequence[float] | Float32Array]


class Client(Transport):
    """Every route of one service, as a method; see `Transport` for its parameters."""

    def search(
        self,
        index: str,
        query: Query,
        *,
        k: int = 10,
        params: Mapping[str, Any] | None = None,
        target_recall: float | None = None,
        filter: Mapping[str, Any] | None = None,
        edit: Mapping[str, Any] | None = None,
        hybrid: Mapping[str, Any] | None = None,
        dense_vector: Sequence[float] | Float32Array | None = None,
        offset: int = 0,
        fields: Sequence[str] = ("title", "text"),
        explain: bool = False,
        highlight: bool = False,
        compare_exact: bool = False,
    ) -> SearchResponse:
        """Return the best `k` documents; the arguments are those of `schemas_search.SearchRequest`.

        Raises
        ------
        LsrError
            Of the class that the service raised: `IndexNotFoundError`, `QueryError` …
        ServiceError
            If the service cannot be reached.
        """
        body = {
            "query": query,
            "k": k,
            "params": params,
            "target_recall": target_recall,
            "filter": filter,
            "edit": edit,
            "hybrid": hybrid,
            "dense_vector": _numbers(dense_vector),
            "offset": offset,
            "fields": list(fields),
            "explain": explain,
            "highlight": highlight,
            "compare_exact": compare_exact,
        }
        return self.ask(SearchResponse, "POST", f"{_path(index)}/search", body)

    def search_batch(
        self,
        index: str,
        queries: Sequence[Query],
        *,
        k: int = 10,
        params: Mapping[str, Any] | None = None,
        target_recall: float | None = None,
        filter: Mapping[str, Any] | None = None,
        hybrid: Mapping[str, Any] | None = None,
        dense_vectors: DenseVectors | None = None,
        offset: int = 0,
        fields: Sequence[str] = (),
    ) -> BatchResponse:
        """Return the best `k` documents of every query, in their order."""
        body = {
            "queries": list(queries),
            "k": k,
            "params": params,
            "target_recall": target_recall,
            "filter": filter,
            "hybrid": hybrid,
            "dense_vectors": None if dense_vectors is None else list(map(_numbers, dense_vectors)),
            "offset": offset,
            "fields": list(fields),
        }
        return self.ask(BatchResponse, "POST", f"{_path(index)}/search/batch", body)

    def explain(
        self,
        index: str,
        query: Query,
        doc_id: str,
        *,
        k: int = 10,
        params: Mapping[str, Any] | None = None,
        filter: Mapping[str, Any] | None = None,
        edit: Mapping[str, Any] | None = None,
        hybrid: Mapping[str, Any] | None = None,
        dense_vector: Sequence[float] | Float32Array | None = None,
    ) -> ExplainResponse:
        """Return why a document has its score, and why it is, or is not, among the best `k`."""
        body = {
            "query": query,
            "doc_id": doc_id,
            "k": k,
            "params": params,
            "filter": filter,
            "edit": edit,
            "hybrid": hybrid,
            "dense_vector": _numbers(dense_vector),
        }
        return self.ask(ExplainResponse, "POST", f"{_path(index)}/explain", body)

    def encode(self, index: str, text: str, *, side: str = "query") -> EncodeResponse:
        """Return how the index's encoder sees a text."""
        body = {"text": text, "side": side}
        return self.ask(EncodeResponse, "POST", f"{_path(index)}/encode", body)

    def document(self, index: str, doc_id: str) -> DocumentBody:
        """Return a stored document."""
        # Slashes stay: the route takes them, and proxies often unquote or refuse %2F.
        return self.ask(DocumentBody, "GET", f"{_path(index)}/documents/{quote(doc_id)}")

    def indexes(self) -> list[IndexInfo]:
        """Return every index of the service."""
        return self.ask(IndexList, "GET", "/v1/indexes").indexes

    def index(self, name: str) -> IndexInfo:
        """Return the description of an index."""
        return self.ask(IndexInfo, "GET", _path(name))

    def upsert(
        self,
        index: str,
        documents: Iterable[Document],
        vectors: Vectors | None = None,
        *,
        dense_vectors: DenseVectors | None = None,
    ) -> UpsertResponse:
        """Add documents to a collection, or replace those of their ids: all of them, or none.

        The collection's encoders make the vectors where none are given: weights by token, and for
        a dense half numbers.
        """
        body = {"documents": list(_documents(documents, vectors, dense_vectors))}
        return self.ask(UpsertResponse, "POST", f"{_path(index)}/documents", body)

    def import_documents(
        self,
        index: str,
        documents: Iterable[Document],
        vectors: Vectors | None = None,
        *,
        dense_vectors: DenseVectors | None = None,
    ) -> ImportResponse:
        """Stream any number of documents into a collection; bad ones are reported, by line."""
        path = f"{_path(index)}/documents/import"
        lines = _lines(documents, vectors, dense_vectors)
        return self.ask(ImportResponse, "POST", path, stream=lines)

    def delete(
        self,
        index: str,
        doc_ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
    ) -> DeleteResponse:
        """Delete the documents of `doc_ids`, or all that pass `filter`."""
        body = {"doc_ids": None if doc_ids is None else list(doc_ids), "filter": filter}
        return self.ask(DeleteResponse, "POST", f"{_path(index)}/documents/delete", body)

    def import_in_background(
        self,
        index: str,
        documents: Iterable[Document],
        vectors: Vectors | None = None,
        *,
        dense_vectors: DenseVectors | None = None,
    ) -> TaskBody:
        """Hand any number of documents over and return the task that encodes and writes them.

        They are durable when it returns, and in the collection when the task has succeeded
        (`wait`).
        """
        path = f"{_path(index)}/documents/import?wait=false"
        lines = _lines(documents, vectors, dense_vectors)
        return self.ask(TaskBody, "POST", path, stream=lines)

    # --- administration -------------------------------------------------------------------

    def encoders(self) -> list[str]:
        """Return the names of the encoders that collections can be made with."""
        return self.ask(EncoderList, "GET", "/v1/encoders").encoders

    def dense_encoders(self) -> list[str]:
        """Return the names of the bi-encoders that a dense half can be made with."""
        return self.ask(EncoderList, "GET", "/v1/encoders").dense_encoders

    def create(
        self,
        name: str,
        *,
        encoder: str | None = None,
        vocabulary: Sequence[str] | int | None = None,
        dense: str | None = None,
        dense_width: int | None = None,
        fields: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> IndexInfo:
        """Make an empty collection: with an encoder, or with a vocabulary for vectors of one's own.

        The arguments are those of `schemas_admin.CreateRequest`.
        """
        body = {
            "name": name,
            "encoder": encoder,
            "vocabulary": list(vocabulary)
            if vocabulary is not None and not isinstance(vocabulary, int)
            else vocabulary,
            "dense": dense,
            "dense_width": dense_width,
            "fields": dict(fields or {}),
            "config": dict(config or {}),
        }
        return self.ask(IndexInfo, "POST", "/v1/indexes", body)

    def drop(self, index: str) -> None:
        """Delete a collection with all its documents; its snapshots stay."""
        self.ask(DeletedResponse, "DELETE", _path(index))

    def stats(self, index: str) -> IndexStats:
        """Return counts and sizes of an index."""
        return self.ask(IndexStats, "GET", f"{_path(index)}/stats")

    def merge(self, index: str) -> TaskBody:
        """Make one segment of all documents; return the task."""
        return self.ask(TaskBody, "POST", f"{_path(index)}/merge")

    def tune(
        self,
        index: str,
        queries: Sequence[Query],
        *,
        recall: float = 0.95,
        k: int = 10,
        p99_ms: float | None = None,
    ) -> TaskBody:
        """Find the fastest search parameters that reach a recall; return the task."""
        body = {"queries": list(queries), "recall": recall, "k": k, "p99_ms": p99_ms}
        return self.ask(TaskBody, "POST", f"{_path(index)}/tune", body)

    def snapshot(self, index: str, name: str | None = None) -> TaskBody:
        """Copy a collection as it is; return the task."""
        return self.ask(TaskBody, "POST", f"{_path(index)}/snapshots", {"name": name})

    def snapshots(self, index: str) -> list[SnapshotInfo]:
        """Return the snapshots of a collection, which itself need not be there any more."""
        return self.ask(SnapshotList, "GET", f"{_path(index)}/snapshots").snapshots

    def delete_snapshot(self, index: str, snapshot: str) -> None:
        """Delete a snapshot."""
        self.ask(DeletedResponse, "DELETE", f"{_path(index)}/snapshots/{quote(snapshot, safe='')}")

    def restore(self, index: str, snapshot: str, name: str) -> TaskBody:
        """Make the new collection `name` from a snapshot; return the task."""
        path = f"{_path(index)}/snapshots/{quote(snapshot, safe='')}/restore"
        return self.ask(TaskBody, "POST", path, {"name": name})

    def tasks(self, index: str | None = None) -> list[TaskBody]:
        """Return the tasks that the service remembers, newest first."""
        suffix = "" if index is None else f"?index={quote(index, safe='')}"
        return self.ask(TaskList, "GET", f"/v1/tasks{suffix}").tasks

    def task(self, task_id: str) -> TaskBody:
        """Return the state of a task."""
        return self.ask(TaskBody, "GET", f"/v1/tasks/{quote(task_id, safe='')}")

    def cancel(self, task_id: str) -> TaskBody:
        """Tell a task to stop."""
        return self.ask(TaskBody, "POST", f"/v1/tasks/{quote(task_id, safe='')}/cancel")

    def wait(self, task: TaskBody, *, timeout_s: float = 600.0, every_s: float = 0.2) -> TaskBody:
        """Return a task once it has succeeded.

        Raises
        ------
        LsrError
            Of the class that made it fail.
        ServiceError
            If it was cancelled, or has not ended in time.
        """
        until = time.monotonic() + timeout_s
        while task.state not in ENDED:
            if time.monotonic() > until:
                raise ServiceError(f"The task {task.id} has not ended in {timeout_s:g} s.")
            time.sleep(every_s)
            task = self.task(task.id)
        if task.error is not None:
            raise error_of(task.error.code, task.error.message, task.error.hint)
        if task.state == "cancelled":
            raise ServiceError(f"The task {task.id} was cancelled.")
        return task


def _numbers(vector: Sequence[float] | Float32Array | None) -> list[float] | None:
    # Arrays too, whose numbers json does not know.
    return None if vector is None else [float(number) for number in vector]


def _documents(
    documents: Iterable[Document], vectors: Vectors | None, dense_vectors: DenseVectors | None
) -> Iterator[dict[str, Any]]:
    columns: dict[str, Iterable[Any]] = {}
    if vectors is not None:
        columns["vector"] = map(dict, vectors)
    if dense_vectors is not None:
        columns["dense_vector"] = map(_numbers, dense_vectors)
    for document, *values in zip(documents, *columns.values(), strict=True):
        yield {
            "doc_id": document.doc_id,
            "title": document.title,
            "text": document.text,
            "metadata": dict(document.metadata),
            **dict(zip(columns, values, strict=True)),
        }


def _lines(
    documents: Iterable[Document], vectors: Vectors | None, dense_vectors: DenseVectors | None
) -> Iterator[bytes]:
    for body in _documents(documents, vectors, dense_vectors):
        yield json.dumps(body, ensure_ascii=False).encode() + b"\n"


def _path(index: str) -> str:
    return f"/v1/indexes/{quote(index, safe='')}"
