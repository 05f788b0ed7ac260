"""Work that takes longer than a request should: started by one, looked at and stopped by others.

Long work on indexes (snapshot, restore, merge, tune) runs one task at a time in a thread of its
own, so that searches keep theirs. The tasks of background imports are kept here too, but run by
their collections (`serving.writing`). Only so many may wait; ended ones are remembered for a while.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any, Literal

from lsr.core.errors import (
    BackPressureError,
    LsrError,
    TaskNotCancellableError,
    TaskNotFoundError,
)

__all__ = ["ENDED", "Task", "TaskCancelled", "TaskState", "Tasks"]

TaskState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[TaskState] = frozenset({"succeeded", "failed", "cancelled"})

logger = logging.getLogger(__name__)
_REMEMBERED = 1000


class TaskCancelled(Exception):
    """Raised inside a task's work where it stops because it was cancelled."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Task:
    """One piece of work; its methods may be called from any thread.

    Attributes
    ----------
    id, kind, index : str
    state : TaskState
    interruptible : bool
        Whether it looks at cancellations while it runs; else only a waiting one can be cancelled.
    done, total : int, int or None
        How far it is.
    unit : str
        What is counted.
    trouble : str
        Why it does not get on at the moment.
    error : LsrError or None
        Why it failed.
    result : dict
        What it gives.
    created, started, ended : str
        Times in ISO format, empty before.
    """

    def __init__(self, kind: str, index: str, *, task_id: str, interruptible: bool) -> None:
        self.id = task_id
        self.kind = kind
        self.index = index
        self.state: TaskState = "queued"
        self.interruptible = interruptible
        self.done = 0
        self.total: int | None = None
        self.unit = ""
        self.trouble = ""
        self.error: LsrError | None = None
        self.result: dict[str, Any] = {}
        self.created = _now()
        self.started = ""
        self.ended = ""
        self._cancelled = threading.Event()

    @property
    def cancellable(self) -> bool:
        """Whether cancelling it does anything."""
        return self.state == "queued" or (self.state == "running" and self.interruptible)

    @property
    def cancelled(self) -> bool:
        """Whether it was told to stop."""
        return self._cancelled.is_set()

    def begin(self) -> None:
        """Note that it runs."""
        self.state, self.started = "running", _now()

    def expect(self, total: int, unit: str) -> None:
        """Say how much there is to do."""
        self.total, self.unit = total, unit

    def advance(self, n: int = 1) -> None:
        """Count what was done; raises TaskCancelled if it was told to stop."""
        self.done += n
        self.check()

    def check(self) -> None:
        """Raise TaskCancelled if it was told to stop."""
        if self.cancelled:
            raise TaskCancelled

    def cancel(self) -> None:
        """Tell it to stop.

        Raises
        ------
        TaskNotCancellableError
            If it has ended, or cannot stop half way.
        """
        if not self.cancellable:
            why = "has ended" if self.state in ENDED else f"cannot stop half way ({self.kind})"
            raise TaskNotCancellableError(
                f"The task {self.id} {why}.", hint="GET /v1/tasks/{id} tells its state."
            )
        self._cancelled.set()

    def end(self, state: TaskState, error: LsrError | None = None) -> None:
        """Note how it ended."""
        self.state, self.error, self.ended, self.trouble = state, error, _now(), ""


class Tasks:
    """The tasks of one service.

    Parameters
    ----------
    max_waiting : int
        More waiting tasks are refused with `BackPressureError`.
    """

    def __init__(self, *, max_waiting: int = 100) -> None:
        self._max_waiting = max_waiting
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._executor = _executor()
        self._running: dict[asyncio.Task[None], Task] = {}

    def add(
        self, kind: str, index: str, *, interruptible: bool, task_id: str | None = None
    ) -> Task:
        """Return a new task, waiting; whoever adds it runs it."""
        made = Task(
            kind, index, task_id=task_id or secrets.token_hex(8), interruptible=interruptible
        )
        self._tasks[made.id] = made
        ended = [task.id for task in self._tasks.values() if task.state in ENDED]
        for forgotten in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._tasks[forgotten]
        return made

    def start(
        self,
        kind: str,
        index: str,
        work: Callable[[Task], dict[str, Any]],
        *,
        interruptible: bool = False,
        lend: AbstractContextManager[object] | None = None,
    ) -> Task:
        """Return a new task that will run `work` in its turn.

        Parameters
        ----------
        work : callable
            Takes the task, returns its result; runs in a thread, one task at a time.
        interruptible : bool
            Whether `work` calls `Task.check` or `Task.advance`.
        lend : context manager, optional
            Entered now and left when the task has ended: keeps an index open meanwhile.

        Raises
        ------
        BackPressureError
            If too many wait already.
        """
        if len(self._running) >= self._max_waiting:
            raise BackPressureError(f"{len(self._running)} tasks wait already.", retry_after_s=10)
        task = self.add(kind, index, interruptible=interruptible)
        lent = ExitStack()
        if lend is not None:
            lent.enter_context(lend)
        running = asyncio.create_task(self._run(task, work, lent))
        self._running[running] = task
        running.add_done_callback(lambda done: self._running.pop(done, None))
        return task

    async def _run(
        self,
        task: Task,
        work: Callable[[Task], dict[str, Any]],
        lent: ExitStack,
    ) -> None:
        def run() -> None:
            if task.cancelled:
                task.end("cancelled")
                return
            task.begin()
            try:
                task.result = work(task)
                task.end("succeeded")
            except TaskCancelled:
                task.end("cancelled")
            except LsrError as error:
                logger.warning("The task %s (%s of %s): %s", task.id, task.kind, task.index, error)
                task.end("failed", error)
            except Exception:
                # The log has it; a caller learns no more than of a request that fails so.
                logger.exception("The task %s (%s of %s) failed", task.id, task.kind, task.index)
                task.end("failed", LsrError("The task failed; the service's log has its id."))

        with lent:
            await asyncio.get_running_loop().run_in_executor(self._executor, run)

    def get(self, task_id: str) -> Task:
        """Return a task.

        Raises
        ------
        TaskNotFoundError
            If there is none of this id, or it ended long ago or before a restart.
        """
        try:
            return self._tasks[task_id]
        except KeyError:
            raise TaskNotFoundError(
                f"No task has the id {task_id!r}.",
                hint="Tasks that ended are forgotten after a while, and when the service restarts.",
            ) from None

    def all(self) -> list[Task]:
        """Return the tasks, newest first."""
        return list(reversed(self._tasks.values()))

    async def close(self) -> None:
        """Cancel what can be cancelled of what runs here, and wait for the rest.

        New tasks may be started afterwards.
        """
        for task in self._running.values():
            if task.cancellable:
                task.cancel()
        await asyncio.gather(*self._running)
        await asyncio.to_thread(self._executor.shutdown)
        self._executor = _executor()


def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="lsr-task")
