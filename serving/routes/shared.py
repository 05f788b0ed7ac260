"""What every route needs: the service, the caller's role, JSON out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.responses import Response

from serving.http_errors import request_id_of
from serving.keys import Role
from serving.service import Service

__all__ = ["IndexName", "ServiceOf", "json_bytes", "json_response", "log", "request_id", "require"]

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    description="An API key, where the service was started with `--keys-file`.",
)

IndexName = Annotated[str, Path(max_length=256, description="Name of an index.")]


# Dependencies are coroutines: FastAPI sends plain functions through a thread pool.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]


def require(role: Role) -> Any:
    """Return the dependency that lets callers with `role` pass, and all where there are no keys."""

    async def check(
        request: Request,
        service: ServiceOf,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> None:
        if service.keys is not None:
            key = service.keys.require(given.credentials if given else None, role)
            log(request, key=key.name)

    return Depends(check)


def log(request: Request, **values: object) -> None:
    """Add values to the access log line of this request."""
    request.state.log = {**getattr(request.state, "log", {}), **values}


def json_bytes(body: BaseModel) -> bytes:
    """Return the body as JSON; fields that were not set are left out."""
    return body.model_dump_json(exclude_unset=True).encode()


def json_response(body: BaseModel | bytes) -> Response:
    """Return a JSON answer.

    The body is serialised by pydantic directly: FastAPI's way validates an answer a second time,
    which costs more than the search.
    """
    content = body if isinstance(body, bytes) else json_bytes(body)
    return Response(content, media_type="application/json")


def request_id(request: Request) -> str:
    """Return the id of the request."""
    return request_id_of(request.scope)
