"""Several processes, one service: who answers what.

The *workers* hold every collection for reading and answer searches; one process, the *writer*, holds
them for writing. A worker passes on what it does not answer itself, over the writer's Unix socket,
and passes the answer back; the keys are checked there as here. A worker sees a write as soon as the
writer has acknowledged it, because every search asks the store for its latest generation.

The sockets lie in a folder that only the service's own user may enter.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from lsr.core.errors import LsrError, WriterUnavailableError
from serving.http_errors import lsr_response, request_id_of

__all__ = ["WRITER", "Place", "WriteForwarder", "answered_by_workers", "is_internal", "merged"]

logger = logging.getLogger(__name__)

WRITER = "writer"
_PATIENCE_S = 5.0
_SIBLING_S = 2.0
_READING_POSTS = re.compile(r"/v1/indexes/[^/]+/(search|search/batch|explain)")
# Only the writer knows these: its tasks, what can be written to and encoded, how it is kept.
_OF_THE_WRITER = re.compile(r"/v1/(tasks(/.*)?|indexes(/[^/]+(/(snapshots|stats))?)?)")
# What belongs to one connection, not to the answer (RFC 9110, section 7.6.1).
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)


@dataclass(frozen=True, slots=True)
class Place:
    """A process among those of one service.

    Attributes
    ----------
    name : str
        `WRITER`, or the number of a worker.
    folder : Path
        With the sockets.
    names : tuple of str
        Of all processes.
    """

    name: str
    folder: Path
    names: tuple[str, ...]

    def socket(self, name: str) -> Path:
        """Return where a process listens for the others."""
        return self.folder / f"{name}.sock"

    @property
    def forwards(self) -> bool:
        """Whether there is a writer to pass things on to."""
        return WRITER in self.names and self.name != WRITER


def answered_by_workers(method: str, path: str) -> bool:
    """Return whether a worker answers this itself."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return _OF_THE_WRITER.fullmatch(path) is None
    if method == "POST":
        return _READING_POSTS.fullmatch(path) is not None
    return not path.startswith("/v1/")


def is_internal(scope: Mapping[str, Any]) -> bool:
    """Return whether a request came over a process's own socket, from another one."""
    server = scope.get("server")
    return server is None or server[1] is None


class WriteForwarder:
    """Passes on to the writer what a worker does not answer.

    Parameters
    ----------
    app : ASGIApp
        Answers the rest.
    place : Place
        Of this process.
    """

    def __init__(self, app: ASGIApp, *, place: Place) -> None:
        self.app = app
        self._socket = place.socket(WRITER)
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or answered_by_workers(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        scope["state"]["forwarded"] = True
        try:
            await self._forward(scope, receive, send)
        except LsrError as error:
            await lsr_response(scope, error)(scope, receive, send)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._client is None:
            self._client = _client(self._socket)
        headers = [(n, v) for n, v in scope["headers"] if n not in _HOP_BY_HOP]
        headers = [(n, v) for n, v in headers if n != b"x-request-id"]
        headers.append((b"x-request-id", request_id_of(scope).encode()))
        query = scope.get("query_string", b"")
        url = httpx.URL(
            scheme="http",
            host="writer",
            raw_path=scope["raw_path"] + (b"?" + query if query else b""),
        )
        started = False
        try:
            response = await self._sent(scope["method"], url, headers, receive)
            try:
                await send(
                    {
                        "type": "http.response.start",
                        "status": response.status_code,
                        "headers": [
                            (n.lower(), v)
                            for n, v in response.headers.raw
                            if n.lower() not in _HOP_BY_HOP
                        ],
                    }
                )
                started = True
                async for chunk in response.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            if started:  # half of the answer is out: only a broken connection can tell
                raise
            raise _gone("it is not known whether it was done") from error

    async def _sent(
        self, method: str, url: httpx.URL, headers: list[tuple[bytes, bytes]], receive: Receive
    ) -> httpx.Response:
        """Return the writer's answer, its body still to come; wait while it is being started."""
        assert self._client is not None, "made by the first request"
        has_body = any(name in (b"content-length", b"content-type") for name, _ in headers)
        until = time.monotonic() + _PATIENCE_S
        while True:
            content = _body(receive) if has_body or method != "GET" else None
            request = self._client.build_request(method, url, headers=headers, content=content)
            try:
                return await self._client.send(request, stream=True)
            except httpx.ConnectError as error:
                # Nothing of the body was read yet, so it can be sent again.
                if time.monotonic() > until:
                    raise _gone("nothing of it was done") from error
                await asyncio.sleep(0.05)


def _gone(what: str) -> WriterUnavailableError:
    return WriterUnavailableError(
        f"The process that writes is being started again; {what}.",
        hint="Send it again: writing or deleting the same documents twice does no harm.",
        retry_after_s=1,
    )


def _client(socket: Path) -> httpx.AsyncClient:
    # No TLS inside the machine; reading the certificates for it would take 60 ms.
    transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(), verify=False)
    # A write takes what it takes; the writer has its own limits.
    return httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            # The client went away: the writer must not take the half for the whole.
            raise httpx.ReadError("The client went away within the request.")
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


async def merged(place: Place, own: str, *, authorization: str) -> str:
    """Return the metrics of all processes in one text, each sample with its process.

    Parameters
    ----------
    place : Place
        Of this process.
    own : str
        Its metrics.
    authorization : str
        Header of the request that asks, sent along.
    """
    headers = {"authorization": authorization} if authorization else {}

    async def ask(name: str) -> str:
        if name == place.name:
            return own
        try:
            async with _client(place.socket(name)) as client:
                async with asyncio.timeout(_SIBLING_S):
                    answer = await client.get("http://localhost/metrics", headers=headers)
                return answer.text if answer.status_code == 200 else ""
        except (httpx.TransportError, TimeoutError) as error:
            logger.warning("The metrics of process %s are left out: %r", name, error)
            return ""

    texts = await asyncio.gather(*(ask(name) for name in place.names))
    families: dict[str, list[str]] = {}
    for name, text in zip(place.names, texts, strict=True):
        family: list[str] = []
        for line in text.splitlines():
            if line.startswith("#"):
                family = families.setdefault(line.split()[2], [])
                if line not in family[:2]:
                    family.append(line)
            else:
                family.append(_labelled(line, name))
    return "".join(f"{line}\n" for lines in families.values() for line in lines)


def _labelled(sample: str, process: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{process="{process}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{process="{process}"}} {value}'
