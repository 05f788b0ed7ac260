"""What is served: the indexes and their documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

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
from serving.schemas import DocumentBody, IndexInfo, IndexList

__all__ = ["router"]

router = APIRouter(prefix="/v1/indexes", tags=["indexes"], dependencies=[require("read")])


@router.get(
    "", response_model=IndexList, responses=documented(401, 403, 503), summary="List the indexes"
)
async def get_indexes(request: Request) -> Response:
    """Return every index of the service, by name."""
    service = service_of(request)
    infos = await service.run(lambda: [index_info(engine) for engine in service.engines()])
    return json_response(IndexList(indexes=infos))


@router.get(
    "/{name}",
    response_model=IndexInfo,
    responses=documented(401, 403, 404, 422, 503),
    summary="Describe an index",
)
async def get_index(name: IndexName, request: Request) -> Response:
    """Return size, encoder and search parameters of an index."""
    service = service_of(request)
    return json_response(await service.run(index_info, service.engine(name)))


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
    engine = service.engine(name)
    log(request, index=name)
    return json_response(await service.run(_document, engine, doc_id))


def _document(engine: Engine, doc_id: str) -> bytes:
    return json_bytes(document_body(engine.document(doc_id), ("title", "text", "metadata")))
