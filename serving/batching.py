"""Concurrent queries encoded together, where the encoder gains from it.

A model encodes 16 queries in little more time than one. Nothing waits for company: an idle
encoder takes the first query at once, and what arrives while it works is the next batch. So the
batch grows with the load, and a lone query pays nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from lsr.core.errors import NotReadyError, OverloadedError
from lsr.core.sparse import SparseMatrix, SparseVector

__all__ = ["QueryBatcher"]


class QueryBatcher:
    """Gathers the queries of concurrent requests.

    Parameters
    ----------
    encode : callable
        Returns one row a text; runs in a thread of `executor`, one batch at a time.
    executor : Executor
        Where it runs.
    max_batch : int
        Most texts in one batch.
    max_waiting : int
        More waiting texts are refused with `OverloadedError`.
    observe : callable
        Called with the size of every batch.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], SparseMatrix],
        executor: Executor,
        *,
        max_batch: int = 32,
        max_waiting: int = 1000,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._encode = encode
        self._executor = executor
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._observe = observe
        self._waiting: deque[tuple[str, asyncio.Future[SparseVector]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def encode(self, text: str) -> SparseVector:
        """Return the vector of `text`.

        Raises
        ------
        OverloadedError
            If too many texts wait already.
        NotReadyError
            If the batcher was closed.
        """
        if self._closed:
            raise NotReadyError("The service is shutting down.")
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError(f"{len(self._waiting)} queries wait to be encoded already.")
        future: asyncio.Future[SparseVector] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def close(self) -> None:
        """Refuse new texts and wait for those that were taken."""
        self._closed = True
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while self._waiting:
            count = min(self._max_batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            # A client that went away has cancelled its future.
            batch = [(text, future) for text, future in batch if not future.done()]
            if batch:
                await self._run(batch)

    async def _run(self, batch: list[tuple[str, asyncio.Future[SparseVector]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            texts = [text for text, _ in batch]
            matrix = await loop.run_in_executor(self._executor, self._encode, texts)
        except Exception as error:  # noqa: BLE001 -- whatever failed belongs to those who wait
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            # One text must not fail the requests of others.
            for item in batch:
                await self._run([item])
            return
        self._observe(len(batch))
        for row, (_, future) in enumerate(batch):
            if not future.done():
                future.set_result(matrix.row(row))
