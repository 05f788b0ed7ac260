"""Writing: documents of live collections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from indexing.collection import UpsertResult
from lsr.core.errors import DocumentNotFoundError, RequestError
from serving.http_errors import documented
from serving.routes.shared import IndexName, json_response, log, request_id, require, service_of
from serving.schemas_writing import (
    DeleteRequest,
    DeleteResponse,
    DocumentIn,
    ImportResponse,
    LineProblemBody,
    UpsertRequest,
    UpsertResponse,
)
from serving.writing import collection_of, import_lines, upsert

__all__ = ["router"]

router = APIRouter(
    prefix="/v1/indexes/{name}/documents", tags=["documents"], dependencies=[require("write")]
)
_ERRORS = documented(400, 401, 403, 404, 413, 422, 429, 503)
_LINES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "One document a line."},
                "example": '{"doc_id": "n1", "text": "…"}\n{"doc_id": "n2", "text": "…"}\n',
            }
        },
    }
}


@router.post("", response_model=UpsertResponse, responses=_ERRORS, summary="Write documents")
async def post_documents(name: IndexName, body: UpsertRequest, request: Request) -> Response:
    """Add documents, or replace those of the same identifiers: all of them, durably, or none.

    Without a `vector` a document is encoded here. It can be found when the answer comes.
    """
    service = service_of(request)
    engine = service.engine(name)
    log(request, index=name, n_documents=len(body.documents))
    result = await service.writer(engine).run(lambda: upsert(engine, body.documents))
    return json_response(
        UpsertResponse(
            n_added=result.n_added, n_replaced=result.n_replaced, request_id=request_id(request)
        )
    )


@router.post(
    "/import",
    response_model=ImportResponse,
    responses=_ERRORS,
    summary="Write documents from JSON lines",
    openapi_extra=_LINES,
)
async def post_import(name: IndexName, request: Request) -> Response:
    """Write a stream of documents, one a line, of any length.

    A line that cannot be used is reported with its number, and the rest goes on.
    """
    service = service_of(request)
    engine = service.engine(name)
    writer = service.writer(engine)

    async def write(documents: list[DocumentIn]) -> UpsertResult:
        return await writer.run(lambda: upsert(engine, documents), patient=True)

    done = await import_lines(_body(request), write)
    log(request, index=name, n_documents=done.n_added + done.n_replaced, n_failed=done.n_failed)
    return json_response(
        ImportResponse(
            n_added=done.n_added,
            n_replaced=done.n_replaced,
            n_failed=done.n_failed,
            problems=[LineProblemBody(line=p.line, message=p.message) for p in done.problems],
            request_id=request_id(request),
        )
    )


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        # What came before is written and stays; nobody is there to hear of it.
        raise RequestError("The client went away within the stream.") from error


@router.post(
    "/delete", response_model=DeleteResponse, responses=_ERRORS, summary="Delete documents"
)
async def post_delete(name: IndexName, body: DeleteRequest, request: Request) -> Response:
    """Delete documents by identifier, or all that pass a filter, in one transaction."""
    if (body.doc_ids is None) == (body.filter is None):
        raise RequestError("Give either doc_ids or filter.")
    service = service_of(request)
    engine = service.engine(name)
    source = collection_of(engine)
    if body.doc_ids is not None:
        doc_ids = body.doc_ids
        count = await service.writer(engine).run(lambda: source.delete(doc_ids))
    else:
        count = await service.writer(engine).run(lambda: source.delete_where(body.filter))
    log(request, index=name, n_documents=count)
    return json_response(DeleteResponse(n_deleted=count, request_id=request_id(request)))


@router.delete(
    "/{doc_id:path}",
    response_model=DeleteResponse,
    responses=_ERRORS,
    summary="Delete a document",
)
async def delete_document(
    name: IndexName,
    doc_id: Annotated[str, Path(max_length=1024, description="Identifier of a document.")],
    request: Request,
) -> Response:
    """Delete one document; 404 if there is none of this identifier."""
    service = service_of(request)
    engine = service.engine(name)
    source = collection_of(engine)
    log(request, index=name)
    count = await service.writer(engine).run(lambda: source.delete([doc_id]))
    if not count:
        raise DocumentNotFoundError(f"The collection {name!r} has no document {doc_id!r}.")
    return json_response(DeleteResponse(n_deleted=count, request_id=request_id(request)))
