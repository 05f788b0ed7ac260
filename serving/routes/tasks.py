"""Long work: its state, and an end to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from serving.administration import task_body
from serving.http_errors import documented
from serving.routes.shared import authorize, json_response, log, require, service_of
from serving.schemas_admin import EncoderList, TaskBody, TaskList

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["tasks"])

TaskId = Annotated[str, Path(max_length=64, description="Identifier of a task.")]


@router.get(
    "/tasks",
    response_model=TaskList,
    responses=documented(401, 403, 422),
    dependencies=[require("write")],
    summary="List the tasks",
)
async def get_tasks(
    request: Request,
    index: Annotated[str | None, Query(max_length=256, description="Only of this one.")] = None,
) -> Response:
    """Return the tasks that wait, run, or ended lately, newest first."""
    tasks = service_of(request).tasks.all()
    return json_response(
        TaskList(tasks=[task_body(task) for task in tasks if index in (None, task.index)])
    )


@router.get(
    "/tasks/{task_id}",
    response_model=TaskBody,
    responses=documented(401, 403, 404, 422),
    dependencies=[require("write")],
    summary="Look at a task",
)
async def get_task(task_id: TaskId, request: Request) -> Response:
    """Return state, progress, error and result of a task."""
    return json_response(task_body(service_of(request).tasks.get(task_id)))


@router.post(
    "/tasks/{task_id}/cancel",
    response_model=TaskBody,
    responses=documented(401, 403, 404, 409, 422),
    dependencies=[require("write")],
    summary="Cancel a task",
)
async def post_cancel(task_id: TaskId, request: Request) -> Response:
    """Tell a task to stop; what it has done stays. Other tasks than imports need the role admin.

    One that waits never starts. One that runs stops soon, where it can (`cancellable`).
    """
    task = service_of(request).tasks.get(task_id)
    if task.kind != "import":
        authorize(request, "admin")
    log(request, index=task.index)
    task.cancel()
    return json_response(task_body(task))


@router.get(
    "/encoders",
    response_model=EncoderList,
    responses=documented(401, 403),
    dependencies=[require("read")],
    summary="List the encoders",
)
async def get_encoders(request: Request) -> Response:
    """Return the names of the encoders that collections can be made with."""
    encoders = service_of(request).encoders
    return json_response(EncoderList(encoders=encoders.names, dense_encoders=encoders.dense_names))
