"""How the client talks: requests, retries, and errors in the classes that the service raised."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from lsr.core import errors
from lsr.core.errors import LsrError, MissingDependencyError, OverloadedError, ServiceError

__all__ = ["Transport", "error_of"]

Answer = TypeVar("Answer", bound=BaseModel)


class Transport:
    """Sends requests to one service; may be used from many threads.

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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(
        self,
        model: type[Answer],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        stream: Iterator[bytes] | None = None,
    ) -> Answer:
        """Return the answer to one request, as `model`.

        Raises
        ------
        LsrError
            Of the class that the service raised.
        ServiceError
            If the service cannot be reached.
        """
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
    after = response.headers.get("retry-after", "1")
    return error_of(code, message, hint, retry_after_s=int(after) if after.isdecimal() else 1)


def error_of(code: str, message: str, hint: str, *, retry_after_s: int = 1) -> LsrError:
    """Return the error of a code, in the class that the service raised."""
    cls = {known.code: known for known in _classes(LsrError)}.get(code, ServiceError)
    if issubclass(cls, OverloadedError):
        return cls(message, retry_after_s=retry_after_s, hint=hint)
    if issubclass(cls, errors.RecordError | MissingDependencyError):
        # Their constructors take what an answer does not carry.
        cls = ServiceError
    return cls(message, hint=hint)


def _classes(cls: type[LsrError]) -> Iterator[type[LsrError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _classes(below)
