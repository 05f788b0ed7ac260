"""Every error as one JSON shape and one status; the only file that knows which.

::

    {"error": {"code": "index_not_found", "message": "…", "hint": "…", "request_id": "…"}}
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lsr.core import errors
from lsr.core.errors import LsrError
from serving.schemas import ErrorBody, ErrorDetail

__all__ = [
    "STATUS_BY_ERROR",
    "documented",
    "error_response",
    "install",
    "lsr_response",
    "status_of",
    "unexpected_response",
]

logger = logging.getLogger(__name__)

STATUS_BY_ERROR: tuple[tuple[type[LsrError], int], ...] = (
    # The first that fits decides: leaves stand before their groups.
    (errors.IndexNotFoundError, 404),
    (errors.SnapshotNotFoundError, 404),
    (errors.TaskNotFoundError, 404),
    (errors.IndexExistsError, 409),
    (errors.SnapshotExistsError, 409),
    (errors.ArtifactExistsError, 409),
    (errors.TaskNotCancellableError, 409),
    (errors.DocumentNotFoundError, 404),
    (errors.AuthenticationError, 401),
    (errors.ForbiddenError, 403),
    (errors.BodyTooLargeError, 413),
    (errors.BackPressureError, 429),
    (errors.RateLimitedError, 429),
    (errors.OverloadedError, 503),
    (errors.NotReadyError, 503),
    (errors.IndexUnavailableError, 503),
    (errors.RequestError, 422),
    (errors.QueryError, 422),
    (errors.ArgumentError, 422),
    (errors.ConfigError, 422),
    (errors.VocabularyMismatchError, 422),
    (errors.DataError, 422),
    (LsrError, 500),
)
"""Whose fault it is: 4xx the caller's, 503 passing, 500 ours."""

_CODE_BY_STATUS = {
    400: ("request_malformed", "Send the body as the API's documentation at /docs says."),
    404: ("route_not_found", "The routes are listed at /docs."),
    405: ("method_not_allowed", "The Allow header names the methods of this route."),
    421: ("host_not_allowed", "Start the service with --allowed-host NAME to answer it."),
}
_EXAMPLES = {
    400: ("request_malformed", "The body is not JSON: Expecting value at character 0."),
    401: ("key_missing", "This service needs an API key."),
    403: ("role_missing", "The key 'page' has the role read, this needs write."),
    404: ("index_not_found", "No index is called 'wiky'. Did you mean 'wiki'?"),
    409: ("index_exists", "An index is called 'wiki' already."),
    413: ("body_too_large", "The body is larger than 4,194,304 bytes."),
    421: ("host_not_allowed", "This service does not answer to the host 'evil.example'."),
    422: ("request_invalid", "k: Input should be greater than or equal to 1 (got 0)"),
    429: ("write_queue_full", "32 writes to 'wiki' wait already."),
    500: ("internal_error", "The service failed; the log has the request id."),
    503: ("overloaded", "1000 requests wait already."),
}
_MEANING = {
    400: "The body is not JSON.",
    401: "No API key, or an unknown one.",
    403: "The key lacks the role.",
    404: "No such index, document, snapshot or task.",
    409: "The name is taken, or it is too late.",
    413: "The body is too large.",
    421: "Asked through a host name that the service does not answer to.",
    422: "A value breaks a rule.",
    429: "Writes come faster than they are done; Retry-After says when to come again.",
    500: "The service failed.",
    503: "Overloaded or shutting down; try again.",
}


def status_of(error: LsrError) -> int:
    """Return the HTTP status of an error."""
    return next(status for cls, status in STATUS_BY_ERROR if isinstance(error, cls))


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id that the middleware gave the request."""
    return str(scope.get("state", {}).get("request_id", ""))


def error_response(
    scope: Mapping[str, Any],
    status: int,
    code: str,
    message: str,
    *,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error in the one shape; its code is left in the scope for log and metrics."""
    scope.get("state", {})["error_code"] = code
    detail = ErrorDetail(code=code, message=message, hint=hint, request_id=request_id_of(scope))
    return Response(
        ErrorBody(error=detail).model_dump_json(),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def lsr_response(scope: Mapping[str, Any], error: LsrError) -> Response:
    """Return the answer to an error of ours."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.OverloadedError):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.AuthenticationError):
        headers["WWW-Authenticate"] = "Bearer"
    if status >= 500 and status != 503:
        logger.error("%s %s: %s", request_id_of(scope), error.code, error)
    return error_response(
        scope, status, error.code, error.message, hint=error.hint, headers=headers
    )


# Starlette types every handler for any exception; `install` names the class that each one gets.


def _lsr_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LsrError)
    return lsr_response(request.scope, error)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, LsrError):
        # FastAPI wraps whatever is raised while it reads a body.
        return _lsr_error(request, error.__cause__)
    code, hint = _CODE_BY_STATUS.get(error.status_code, ("http_error", ""))
    message = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not a method of {request.url.path}.",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    # Starlette names the methods of one route; several may share a path.
    if error.status_code == 405 and (methods := _methods(request)):
        headers["Allow"] = ", ".join(sorted(methods))
    return error_response(
        request.scope, error.status_code, code, message, hint=hint, headers=headers
    )


def _methods(request: Request) -> set[str]:
    """Return the methods that the API's document lists for the request's path."""
    found: set[str] = set()
    for path, operations in request.app.openapi()["paths"].items():
        # Only document identifiers may hold slashes.
        pattern = path.replace("{doc_id}", ".+")
        pattern = re.sub(r"\{\w+\}", "[^/]+", pattern)
        if re.fullmatch(pattern, request.url.path):
            found |= {method.upper() for method in operations}
    return found


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    broken = next((p for p in problems if p["type"] == "json_invalid"), None)
    if broken is not None:
        reason = f"{broken.get('ctx', {}).get('error', broken['msg'])} at {broken['loc'][-1]}"
        return error_response(
            request.scope, 400, "request_malformed", f"The body is not JSON: {reason}."
        )
    return error_response(
        request.scope,
        422,
        "request_invalid",
        "; ".join(dict.fromkeys(_describe(p) for p in problems)),
        hint="The schema of the request is at /docs.",
    )


def _describe(problem: Mapping[str, Any]) -> str:
    place: Sequence[Any] = problem["loc"]
    where = ".".join(str(part) for part in place[1:]) or str(place[0] if place else "request")
    if problem["type"] == "missing":
        return f"{where}: is required"
    seen = repr(problem.get("input"))
    return f"{where}: {problem['msg']} (got {seen if len(seen) <= 80 else seen[:77] + '…'})"


def unexpected_response(scope: Mapping[str, Any], error: Exception) -> Response:
    """Log an error that nobody foresaw, and return an answer that tells nothing of it."""
    logger.error("%s failed", request_id_of(scope), exc_info=error)
    return error_response(
        scope,
        500,
        "internal_error",
        "The service failed; its log has the request id.",
        hint="Report it with the request id.",
    )


def install(app: FastAPI) -> None:
    """Let `app` answer every error in the one shape; what nobody foresaw is the middleware's."""
    app.add_exception_handler(LsrError, _lsr_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


def documented_limit() -> dict[str, Any]:
    """Return the OpenAPI description of an answer to a caller who asks too often."""
    described = documented(429)[429]
    content = described["content"]["application/json"]
    error = {**content["example"]["error"], "code": errors.RateLimitedError.code}
    error["message"] = "This caller asks more often than the service allows."
    return {
        "description": "Asked too often; Retry-After says when to come again.",
        "content": {"application/json": {**content, "example": {"error": error}}},
    }


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of error answers, each with an example."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 421, 500}):
        code, message = _EXAMPLES[status]
        example = {
            "error": {
                "code": code,
                "message": message,
                "hint": "",
                "request_id": "5f2c8a01d3e94b67",
            }
        }
        described[status] = {
            "model": ErrorBody,
            "description": _MEANING[status],
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/ErrorBody"},
                    "example": example,
                }
            },
        }
    return described
