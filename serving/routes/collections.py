"""Administration: collections made and deleted, merged, copied, restored."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from lsr.core.errors import ArgumentError, SnapshotExistsError
from serving.administration import (
    collection_config,
    make_collection,
    restore_collection,
    snapshot_info,
    take_snapshot,
    task_body,
    tune_index,
)
from serving.answers import index_info
from serving.http_errors import documented
from serving.routes.shared import IndexName, json_response, log, request_id, require, service_of
from serving.schemas import IndexInfo
from serving.schemas_admin import (
    CreateRequest,
    DeletedResponse,
    RestoreRequest,
    SnapshotList,
    SnapshotRequest,
    TaskBody,
    TuneRequest,
)
from serving.tasks import Task
from serving.writing import collection_of

__all__ = ["router"]

router = APIRouter(prefix="/v1/indexes", tags=["administration"], dependencies=[require("admin")])

SnapshotName = Annotated[str, Path(max_length=256, description="Name of a snapshot.")]
_TASK: dict[str, Any] = {"response_model": TaskBody, "status_code": 202}


@router.post(
    "",
    response_model=IndexInfo,
    status_code=201,
    responses=documented(400, 401, 403, 409, 413, 422, 503),
    summary="Make a collection",
)
async def post_index(body: CreateRequest, request: Request) -> Response:
    """Make an empty live collection in the data folder and serve it.

    With an encoder documents and queries are texts; with a vocabulary alone they are weights by
    token. With `dense` or `dense_width` it has a dense half, for hybrid search, from the start: one
    cannot be added later. It is there after a restart.
    """
    service = service_of(request)
    log(request, index=body.name)
    if body.encoder is not None:
        service.encoders.require(body.encoder)
    if body.dense is not None:
        service.encoders.require_dense(body.dense)
    collection_config(body)
    served = await service.catalog.make(
        body.name, partial(make_collection, request=body, encoders=service.encoders)
    )
    with served:
        return json_response(await service.run(index_info, served.engine), status=201)


@router.delete(
    "/{name}",
    response_model=DeletedResponse,
    responses=documented(401, 403, 404, 422, 503),
    summary="Delete a collection",
)
async def delete_index(name: IndexName, request: Request) -> Response:
    """Delete a collection with all its documents; its snapshots stay.

    Requests and tasks that use it are finished first.
    """
    service = service_of(request)
    log(request, index=name)
    await service.catalog.delete(name)
    return json_response(DeletedResponse(deleted=name, request_id=request_id(request)))


@router.post(
    "/{name}/merge",
    **_TASK,
    responses=documented(401, 403, 404, 422, 429, 503),
    summary="Merge a collection",
)
async def post_merge(name: IndexName, request: Request) -> Response:
    """Make one segment of all documents, without the deleted ones, beside searches and writes.

    A merge that has begun cannot be cancelled.
    """
    service = service_of(request)
    log(request, index=name)
    with await service.use(name) as served:
        source = collection_of(served.engine)

        def work(task: Task) -> dict[str, Any]:
            done = source.collection.merge()
            return {"merged": done, "n_documents": source.n_documents}

        task = service.tasks.start("merge", name, work, lend=served)
    return json_response(task_body(task), status=202)


@router.post(
    "/{name}/tune",
    **_TASK,
    responses=documented(400, 401, 403, 404, 413, 422, 429, 503),
    summary="Tune the search of an index",
)
async def post_tune(name: IndexName, body: TuneRequest, request: Request) -> Response:
    """Find the fastest search parameters that reach a recall, and keep them with the index.

    `target_recall` of a search uses them. The recall that is kept was measured on queries that did
    not choose the parameters. A collection that has grown or shrunk twofold has to be tuned again.
    """
    service = service_of(request)
    log(request, index=name, n_queries=len(body.queries))
    with await service.use(name) as served:
        engine = served.engine
        if engine.source.params_model is None:
            raise ArgumentError(
                f"The layout {engine.source.layout!r} has nothing to tune: it is exact."
            )
        task = service.tasks.start(
            "tune",
            name,
            lambda task: tune_index(engine, body, task),
            interruptible=True,
            lend=served,
        )
    return json_response(task_body(task), status=202)


@router.get(
    "/{name}/snapshots",
    response_model=SnapshotList,
    responses=documented(401, 403, 404, 422, 503),
    summary="List snapshots",
)
async def get_snapshots(name: IndexName, request: Request) -> Response:
    """Return the snapshots of a collection, also after it was deleted."""
    service = service_of(request)
    data = service.catalog.require_data(writing=False)
    log(request, index=name)

    def listed() -> SnapshotList:
        return SnapshotList(snapshots=[snapshot_info(p) for p in data.snapshots(name).values()])

    answer = await service.run(listed)
    if not answer.snapshots:
        with await service.use(name):
            pass
    return json_response(answer)


@router.post(
    "/{name}/snapshots",
    **_TASK,
    responses=documented(400, 401, 403, 404, 409, 413, 422, 429, 503),
    summary="Take a snapshot",
)
async def post_snapshot(name: IndexName, body: SnapshotRequest, request: Request) -> Response:
    """Copy a collection as it is, with checksums, beside searches and writes.

    Documents of background imports that are not in the collection yet are not in the copy.
    """
    service = service_of(request)
    log(request, index=name)
    with await service.use(name) as served:
        source = collection_of(served.engine)
        data = service.catalog.require_data()
        out = data.snapshot(name, body.name or data.new_snapshot_name())
        if out.exists():
            raise SnapshotExistsError(
                f"{name!r} has a snapshot {out.name!r} already.", hint="Choose another name."
            )
        task = service.tasks.start(
            "snapshot", name, lambda task: take_snapshot(source.path, out), lend=served
        )
    return json_response(task_body(task), status=202)


@router.delete(
    "/{name}/snapshots/{snapshot}",
    response_model=DeletedResponse,
    responses=documented(401, 403, 404, 422, 503),
    summary="Delete a snapshot",
)
async def delete_snapshot(name: IndexName, snapshot: SnapshotName, request: Request) -> Response:
    """Delete a copy."""
    service = service_of(request)
    log(request, index=name)
    await service.run(service.catalog.require_data().remove_snapshot, name, snapshot)
    return json_response(DeletedResponse(deleted=snapshot, request_id=request_id(request)))


@router.post(
    "/{name}/snapshots/{snapshot}/restore",
    **_TASK,
    responses=documented(400, 401, 403, 404, 409, 413, 422, 429, 503),
    summary="Restore a snapshot",
)
async def post_restore(
    name: IndexName, snapshot: SnapshotName, body: RestoreRequest, request: Request
) -> Response:
    """Make a new collection from a copy, whose every file is checked, and serve it."""
    service = service_of(request)
    catalog = service.catalog
    log(request, index=body.name)
    source = catalog.require_data().existing_snapshot(name, snapshot)
    catalog.require_free(body.name)
    loop = asyncio.get_running_loop()

    def work(task: Task) -> dict[str, Any]:
        made = catalog.make(body.name, partial(restore_collection, source))
        served = asyncio.run_coroutine_threadsafe(made, loop).result()
        return {"index": body.name, "n_documents": served.engine.n_documents}

    return json_response(task_body(service.tasks.start("restore", body.name, work)), status=202)
