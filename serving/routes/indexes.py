"""What is served: the indexes and their documents."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from serving.administration import index_stats
from serving.answers import document_body, index_info
from serving.engine import Engine
from serving.http_errors import documented
from serving.routes.shared import (
    IndexName,
    json_bytes,
    json_response,
    log,
    require,
    service_of,
)
from serving.schemas import IndexInfo, IndexList, UnavailableIndex
from serving.schemas_admin import IndexStats
from serving.schemas_search import DocumentBody

__all__ = ["router"]

router = APIRouter(prefix="/v1/indexes", tags=["indexes"], dependencies=[require("read")])


@router.get(
    "", response_model=IndexList, responses=documented(401, 403, 503), summary="List the indexes"
)
async def get_indexes(request: Request) -> Response:
    """Return every index of the service, by name."""
    service = service_of(request)
    await service.catalog.refresh()
    with ExitStack() as held:
        engines = [held.enter_context(served).engine for served in service.catalog.all()]
        infos = await service.run(lambda: [index_info(engine) for engine in engines])
    broken = [
        UnavailableIndex(name=name, code=error.code, message=error.message)
        for name, error in sorted(service.catalog.unavailable.items())
    ]
    return json_response(IndexList(indexes=infos, unavailable=broken))


@router.get(
    "/{name}",
    response_model=IndexInfo,
    responses=documented(401, 403, 404, 422, 503),
    summary="Describe an index",
)
async def get_index(name: IndexName, request: Request) -> Response:
    """Return size, encoder and search parameters of an index."""
    service = service_of(request)
    with await service.use(name) as served:
        return json_response(await service.run(index_info, served.engine))


@router.get(
    "/{name}/stats",
    response_model=IndexStats,
    responses=documented(401, 403, 404, 422, 503),
    summary="Counts and sizes of an index",
)
async def get_stats(name: IndexName, request: Request) -> Response:
    """Return documents, bytes by part, and of a collection segments, head and pending writes."""
    service = service_of(request)
    with await service.use(name) as served:
        return json_response(await service.run(index_stats, served))


@router.get(
    "/{name}/documents/{doc_id:path}",
    response_model=DocumentBody,
    responses=documented(401, 403, 404, 422, 503),
    summary="Read a document",
)
async def get_document(
    name: IndexName,
    doc_id: Annotated[str, Path(max_length=1024, description="Identifier of a document.")],
    request: Request,
) -> Response:
    """Return a stored document with its metadata."""
    service = service_of(request)
    log(request, index=name)
    with await service.use(name) as served:
        return json_response(await service.run(_document, served.engine, doc_id))


def _document(engine: Engine, doc_id: str) -> bytes:
    return json_bytes(document_body(engine.document(doc_id), ("title", "text", "metadata")))
