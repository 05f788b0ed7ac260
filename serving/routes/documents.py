"""Writing: documents of live collections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from lsr.core.errors import DocumentNotFoundError, RequestError
from serving.administration import task_body
from serving.catalog import Served
from serving.http_errors import documented
from serving.importing import Line, LineProblem, import_lines, read_lines
from serving.routes.shared import IndexName, json_response, log, request_id, require, service_of
from serving.schemas_admin import TaskBody
from serving.schemas_writing import (
    DeleteRequest,
    DeleteResponse,
    ImportResponse,
    UpsertRequest,
    UpsertResponse,
)
from serving.writing import Writer, collection_of

__all__ = ["router"]

router = APIRouter(
    prefix="/v1/indexes/{name}/documents", tags=["documents"], dependencies=[require("write")]
)
_ERRORS = documented(400, 401, 403, 404, 413, 422, 429, 503)
_WRITES: dict[int | str, dict[str, Any]] = {
    **_ERRORS,
    202: {"model": TaskBody, "description": "Taken, durably; with `wait=false`."},
}
Wait = Annotated[
    bool,
    Query(
        description="`false`: answer once the documents are durable in the collection's inbox, "
        "with the task that encodes and writes them."
    ),
]
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


def _writer(served: Served) -> Writer:
    collection_of(served.engine)
    assert served.writer is not None, "what is updatable has a writer"
    return served.writer


@router.post("", response_model=UpsertResponse, responses=_WRITES, summary="Write documents")
async def post_documents(
    name: IndexName, body: UpsertRequest, request: Request, wait: Wait = True
) -> Response:
    """Add documents, or replace those of the same identifiers: all of them, durably, or none.

    Without a `vector` a document is encoded here. It can be found when the answer comes; with
    `wait=false` when the task has succeeded, which tells of documents that broke a rule.
    """
    service = service_of(request)
    log(request, index=name, n_documents=len(body.documents))
    with await service.use(name) as served:
        writer = _writer(served)
        if not wait:
            task = await writer.take(_numbered(body))
            return json_response(task_body(task), status=202)
        result = await writer.upsert(body.documents)
    return json_response(
        UpsertResponse(
            n_added=result.n_added, n_replaced=result.n_replaced, request_id=request_id(request)
        )
    )


async def _numbered(body: UpsertRequest) -> AsyncIterator[Line | LineProblem]:
    for number, document in enumerate(body.documents, 1):
        yield Line(number, document)


@router.post(
    "/import",
    response_model=ImportResponse,
    responses=_WRITES,
    summary="Write documents from JSON lines",
    openapi_extra=_LINES,
)
async def post_import(name: IndexName, request: Request, wait: Wait = True) -> Response:
    """Write a stream of documents, one a line, of any length; a BEIR `corpus.jsonl` as it is.

    A line that cannot be used is reported with its number, and the rest goes on. With `wait=false`
    the stream is taken as fast as it comes, up to the size of the inbox, and written afterwards.
    """
    service = service_of(request)
    with await service.use(name) as served:
        writer = _writer(served)
        if not wait:
            task = await writer.take(read_lines(_body(request)))
            log(request, index=name, n_documents=task.total)
            return json_response(task_body(task), status=202)
        done = await import_lines(_body(request), partial(writer.upsert, patient=True))
    log(request, index=name, n_documents=done.n_added + done.n_replaced, n_failed=done.n_failed)
    return json_response(
        ImportResponse.model_validate({**done.body(), "request_id": request_id(request)})
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
    with await service_of(request).use(name) as served:
        writer = _writer(served)
        if body.doc_ids is not None:
            count = await writer.delete(body.doc_ids)
        else:
            count = await writer.delete_where(body.filter)
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
    log(request, index=name)
    with await service_of(request).use(name) as served:
        count = await _writer(served).delete([doc_id])
    if not count:
        raise DocumentNotFoundError(f"The collection {name!r} has no document {doc_id!r}.")
    return json_response(DeleteResponse(n_deleted=count, request_id=request_id(request)))
