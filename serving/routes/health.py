"""For whoever runs the service: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from lsr.core.errors import NotReadyError
from lsr.core.manifest import lsr_version
from serving.forwarding import is_internal
from serving.http_errors import documented
from serving.metrics import CONTENT_TYPE
from serving.routes.shared import json_response, require, service_of
from serving.schemas import HealthBody

__all__ = ["OPEN_PATHS", "router"]

OPEN_PATHS = ("/healthz", "/readyz")
"""What needs no key: an orchestrator asks before it has one."""

router = APIRouter(tags=["operations"])


@router.get(
    "/healthz", response_model=HealthBody, responses=documented(), summary="Is the process alive?"
)
async def get_health() -> Response:
    """Answer as long as the process does; needs no key."""
    return json_response(HealthBody(status="ok", version=lsr_version()))


@router.get(
    "/readyz",
    response_model=HealthBody,
    responses=documented(503),
    summary="Can it answer searches?",
)
async def get_ready(request: Request) -> Response:
    """Answer 200 once every index is open and warm, 503 before and while stopping."""
    if not service_of(request).ready:
        raise NotReadyError("The service is starting or shutting down.", hint="Try again.")
    return json_response(HealthBody(status="ok", version=lsr_version()))


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    # Without the model: FastAPI would say that errors are plain text here as well.
    responses={
        status: {key: value for key, value in answer.items() if key != "model"}
        for status, answer in documented(401, 403).items()
    },
    dependencies=[require("read")],
    summary="Metrics for Prometheus",
)
async def get_metrics(request: Request) -> Response:
    """Return counters and latency histograms in Prometheus' text format."""
    text = await service_of(request).metrics_text(
        internal=is_internal(request.scope),
        authorization=request.headers.get("authorization", ""),
    )
    return Response(text, media_type=CONTENT_TYPE)
