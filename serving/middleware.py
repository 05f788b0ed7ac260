"""What surrounds every request: its id, host check, body limit, times, metrics, access log.

Plain ASGI, one layer: Starlette's ``BaseHTTPMiddleware`` costs a task and two queues a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import secrets
import time
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lsr.core.errors import BodyTooLargeError, NotReadyError, RateLimitedError
from serving.forwarding import WriteForwarder, is_internal
from serving.http_errors import error_response, lsr_response, unexpected_response
from serving.keys import KeyFile, bearer_token
from serving.metrics import Metrics
from serving.rate_limit import RateLimiter, caller_of_address
from serving.service import Service
from serving.settings import ServeSettings

__all__ = ["ACCESS_LOGGER", "RequestMiddleware", "install"]

ACCESS_LOGGER = "serving.access"
access = logging.getLogger(ACCESS_LOGGER)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Read line by line, with a limit on each (`serving.writing`).
_STREAMED = re.compile(r"/v1/indexes/[^/]+/documents/import")
_LINGER_BYTES = 256 << 20
_LINGER_S = 10.0
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
}


class RequestMiddleware:
    """Wraps the whole application.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    settings : ServeSettings
        Limits, hosts, log switches.
    metrics : Metrics
        Counts requests and times.
    limiter : RateLimiter, optional
        How often a caller may ask for something under ``/v1``.
    keys : KeyFile, optional
        Tells callers apart; those without a known key are told by their address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServeSettings,
        metrics: Metrics,
        limiter: RateLimiter | None = None,
        keys: KeyFile | None = None,
    ) -> None:
        self.app = app
        self._limiter = limiter
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._hosts = frozenset(h.lower() for h in settings.answered_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        state["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                for name, value in _SECURITY_HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers, headers)
        except asyncio.CancelledError:
            # The server stops and will not wait longer; it would answer in plain text itself.
            if not status:
                stopped = NotReadyError(
                    "The service stopped before this was done.",
                    hint="Ask again when it is back; a write may be there already or not.",
                )
                await lsr_response(scope, stopped)(scope, receive, send_with_headers)
            raise
        except Exception as error:
            if status:  # half of the answer is out: only a broken connection can tell
                raise
            response = unexpected_response(scope, error)
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, status or 500, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        host = _without_port(headers.get("host", ""))
        # What another process of the service asks comes from nobody's browser.
        if not ("*" in self._hosts or host in self._hosts or is_internal(scope)):
            response = error_response(
                scope,
                421,
                "host_not_allowed",
                f"This service does not answer to the host {host!r}.",
                hint="Start it with --allowed-host NAME to answer it.",
            )
            await response(scope, receive, send)
            return
        if self._limiter is not None and scope["path"].startswith("/v1/"):
            wait_s = 0.0 if is_internal(scope) else self._limiter.take(self._caller(scope, headers))
            if wait_s > 0:
                error = RateLimitedError(
                    "This caller asks more often than the service allows.",
                    retry_after_s=math.ceil(wait_s),
                )
                await lsr_response(scope, error)(scope, receive, send)
                return
        if _STREAMED.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        limit = self._settings.max_body_bytes
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await _linger(receive)
            await _too_large(scope, limit)(scope, receive, send)
            return
        seen = 0

        async def limited() -> Message:
            # A chunked body has no length to look at beforehand.
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    await _linger(receive, more=message.get("more_body", False))
                    raise BodyTooLargeError(_too_large_text(limit), hint=_TOO_LARGE_HINT)
            return message

        await self.app(scope, limited, send)

    def _caller(self, scope: Scope, headers: Headers) -> str:
        if self._keys is not None and (token := bearer_token(headers.get("authorization", ""))):
            key = self._keys.ring.find(token)
            if key is not None:
                return f"key {key.name}"
        client = scope.get("client")
        return caller_of_address(client[0]) if client else ""

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        state: dict[str, Any] = scope["state"]
        unrouted = "forwarded" if state.get("forwarded") else "unmatched"
        route = getattr(scope.get("route"), "path", unrouted)
        self._metrics.requests.add(route, scope["method"], str(status))
        self._metrics.request_seconds.observe(seconds, route)
        if code := state.get("error_code"):
            self._metrics.errors.add(code)
        if not self._settings.access_log:
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            + f".{int(time.time() * 1000) % 1000:03d}Z",
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 3),
        }
        # What the handler says about the search: index, k, hits, times by stage; and the text of
        # the query where the settings ask for it.
        line.update(state.get("log", {}))
        if code:
            line["error"] = code
        access.info(json.dumps(line, ensure_ascii=False))


_TOO_LARGE_HINT = "Send less at a time, or raise LSR_SERVE_MAX_BODY_BYTES."


def _too_large_text(limit: int) -> str:
    return f"The body is larger than {limit:,} bytes."


def _too_large(scope: Scope, limit: int) -> ASGIApp:
    return error_response(
        scope,
        413,
        BodyTooLargeError.code,
        _too_large_text(limit),
        hint=_TOO_LARGE_HINT,
        headers={"Connection": "close"},
    )


async def _linger(receive: Receive, *, more: bool = True) -> None:
    """Read and forget what the client still sends, within bounds.

    A client that is sending does not read; closing on it would reset the connection and it would
    never see the answer.
    """
    seen, until = 0, time.monotonic() + _LINGER_S
    while more and seen < _LINGER_BYTES and time.monotonic() < until:
        message = await receive()
        if message["type"] != "http.request":
            return
        seen += len(message.get("body", b""))
        more = message.get("more_body", False)


def _without_port(host: str) -> str:
    if host.startswith("["):  # an IPv6 address
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def install(app: FastAPI, service: Service) -> None:
    """Put the middleware around `app`."""
    place = service.place
    if place is not None and place.forwards:
        app.add_middleware(WriteForwarder, place=place)
    app.add_middleware(
        RequestMiddleware,
        settings=service.settings,
        metrics=service.metrics,
        limiter=service.limiter,
        keys=service.keys,
    )
