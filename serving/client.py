"""A typed client of the API: the service's own models in and out, the service's own errors.

>>> with Client("http://127.0.0.1:8000") as client:          # doctest: +SKIP
...     answer = client.search("demo", "who rescued the children", k=3, highlight=True)
...     [hit.doc_id for hit in answer.hits]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from lsr.core import errors
from lsr.core.errors import LsrError, MissingDependencyError, OverloadedError, ServiceError
from lsr.core.records import Document
from serving.schemas import (
    BatchResponse,
    DocumentBody,
    EncodeResponse,
    ExplainResponse,
    IndexInfo,
    IndexList,
    SearchResponse,
)
from serving.schemas_writing import DeleteResponse, ImportResponse, UpsertResponse

__all__ = ["Client"]

Answer = TypeVar("Answer", bound=BaseModel)
Query = str | Mapping[str, float]


class Client:
    """Talks to one service; may be used from many threads.

    Parameters
    ----------
    url : str
        Where the service listens.
    key : str, optional
        An API key.
    timeout_s : float
        Of one request.
    retries : int
        How often a request is sent again after a refusal for overload; it did nothing then.
    transport : httpx.BaseTransport, optional
        Another way to the service than the network.

    Raises
    ------
    MissingDependencyError
        If httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 2,
        transport: Any | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingDependencyError("httpx", extra="serve", purpose="The client") from error
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._retries = retries
        self._failed: type[Exception] = httpx.HTTPError
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )

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
        fields: Sequence[str] = ("title", "text"),
        explain: bool = False,
        highlight: bool = False,
        compare_exact: bool = False,
    ) -> SearchResponse:
        """Return the best `k` documents; the arguments are those of `schemas.SearchRequest`.

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
            "fields": list(fields),
            "explain": explain,
            "highlight": highlight,
            "compare_exact": compare_exact,
        }
        return self._ask(SearchResponse, "POST", f"{_path(index)}/search", body)

    def search_batch(
        self,
        index: str,
        queries: Sequence[Query],
        *,
        k: int = 10,
        params: Mapping[str, Any] | None = None,
        target_recall: float | None = None,
        filter: Mapping[str, Any] | None = None,
        fields: Sequence[str] = (),
    ) -> BatchResponse:
        """Return the best `k` documents of every query, in their order."""
        body = {
            "queries": list(queries),
            "k": k,
            "params": params,
            "target_recall": target_recall,
            "filter": filter,
            "fields": list(fields),
        }
        return self._ask(BatchResponse, "POST", f"{_path(index)}/search/batch", body)

    def explain(
        self,
        index: str,
        query: Query,
        doc_id: str,
        *,
        k: int = 10,
        params: Mapping[str, Any] | None = None,
        edit: Mapping[str, Any] | None = None,
    ) -> ExplainResponse:
        """Return why a document has its score, and why it is, or is not, among the best `k`."""
        body = {"query": query, "doc_id": doc_id, "k": k, "params": params, "edit": edit}
        return self._ask(ExplainResponse, "POST", f"{_path(index)}/explain", body)

    def encode(self, index: str, text: str, *, side: str = "query") -> EncodeResponse:
        """Return how the index's encoder sees a text."""
        body = {"text": text, "side": side}
        return self._ask(EncodeResponse, "POST", f"{_path(index)}/encode", body)

    def document(self, index: str, doc_id: str) -> DocumentBody:
        """Return a stored document."""
        # Slashes stay: the route takes them, and proxies often unquote or refuse %2F.
        return self._ask(DocumentBody, "GET", f"{_path(index)}/documents/{quote(doc_id)}")

    def indexes(self) -> list[IndexInfo]:
        """Return every index of the service."""
        return self._ask(IndexList, "GET", "/v1/indexes").indexes

    def index(self, name: str) -> IndexInfo:
        """Return the description of an index."""
        return self._ask(IndexInfo, "GET", _path(name))

    def upsert(self, index: str, documents: Iterable[Document]) -> UpsertResponse:
        """Add documents to a collection, or replace those of their ids: all of them, or none.

        The collection's encoder makes the vectors.
        """
        body = {"documents": [_document(document) for document in documents]}
        return self._ask(UpsertResponse, "POST", f"{_path(index)}/documents", body)

    def import_documents(self, index: str, documents: Iterable[Document]) -> ImportResponse:
        """Stream any number of documents into a collection; bad ones are reported, by line."""
        lines = (
            json.dumps(_document(document), ensure_ascii=False).encode() + b"\n"
            for document in documents
        )
        return self._ask(ImportResponse, "POST", f"{_path(index)}/documents/import", stream=lines)

    def delete(
        self,
        index: str,
        doc_ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
    ) -> DeleteResponse:
        """Delete the documents of `doc_ids`, or all that pass `filter`."""
        body = {"doc_ids": None if doc_ids is None else list(doc_ids), "filter": filter}
        return self._ask(DeleteResponse, "POST", f"{_path(index)}/documents/delete", body)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(
        self,
        model: type[Answer],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        stream: Iterator[bytes] | None = None,
    ) -> Answer:
        given = None if body is None else {k: v for k, v in body.items() if v is not None}
        # A stream can be sent once; the service makes it wait rather than refusing it.
        retries = self._retries if stream is None else 0
        for attempt in range(retries + 1):
            try:
                if stream is None:
                    response = self._http.request(method, path, json=given)
                else:
                    response = self._http.request(method, path, content=stream)
            except self._failed as error:
                raise ServiceError(
                    f"The service at {self._http.base_url} does not answer: {error}.",
                    hint="Is it running, and is the address right?",
                ) from error
            if response.is_success:
                return model.model_validate_json(response.content)
            failure = _error(response)
            if not isinstance(failure, OverloadedError) or attempt == retries:
                raise failure
            time.sleep(failure.retry_after_s)
        raise AssertionError("the last attempt returns or raises")


def _document(document: Document) -> dict[str, Any]:
    return {
        "doc_id": document.doc_id,
        "title": document.title,
        "text": document.text,
        "metadata": dict(document.metadata),
    }


def _path(index: str) -> str:
    return f"/v1/indexes/{quote(index, safe='')}"


def _error(response: Any) -> LsrError:
    """Return the error that an answer tells of, in the class that the service raised."""
    try:
        told = response.json()["error"]
        code, message, hint = told["code"], told["message"], told["hint"]
    except (ValueError, KeyError, TypeError):
        return ServiceError(
            f"The service answered {response.status_code} without saying why.",
            hint="Something between here and the service may have answered for it.",
        )
    cls = {known.code: known for known in _classes(LsrError)}.get(code, ServiceError)
    if issubclass(cls, OverloadedError):
        after = response.headers.get("retry-after", "1")
        return cls(message, retry_after_s=int(after) if after.isdecimal() else 1, hint=hint)
    if issubclass(cls, errors.RecordError | MissingDependencyError):
        # Their constructors take what an answer does not carry.
        cls = ServiceError
    return cls(message, hint=hint)


def _classes(cls: type[LsrError]) -> Iterator[type[LsrError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _classes(below)
