"""A typed client of the API: the service's own models in and out, the service's own errors.

>>> with Client("http://127.0.0.1:8000") as client:          # doctest: +SKIP
...     answer = client.search("demo", "who rescued the children", k=3, highlight=True)
...     [hit.doc_id for hit in answer.hits]
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from lsr.core import errors
from lsr.core.errors import LsrError, MissingDependencyError, OverloadedError, ServiceError
from serving.schemas import (
    BatchResponse,
    DocumentBody,
    EncodeResponse,
    ExplainResponse,
    IndexInfo,
    IndexList,
    SearchResponse,
)

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
        How often a request is sent again after a refusal for overload; reading changes nothing.
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
        filter: Mapping[str, Any] | None = None,  # noqa: A002
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
        filter: Mapping[str, Any] | None = None,  # noqa: A002
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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(
        self, model: type[Answer], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Answer:
        given = None if body is None else {k: v for k, v in body.items() if v is not None}
        for attempt in range(self._retries + 1):
            try:
                response = self._http.request(method, path, json=given)
            except self._failed as error:
                raise ServiceError(
                    f"The service at {self._http.base_url} does not answer: {error}.",
                    hint="Is it running, and is the address right?",
                ) from error
            if response.is_success:
                return model.model_validate_json(response.content)
            failure = _error(response)
            if not isinstance(failure, OverloadedError) or attempt == self._retries:
                raise failure
            time.sleep(failure.retry_after_s)
        raise AssertionError("the last attempt returns or raises")


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
