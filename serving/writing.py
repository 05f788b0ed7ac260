"""Writing documents into a live collection: encoded, stored, acknowledged.

A write is answered when it is durable and searchable. Encoding and storing run in threads of their
own, so that they take none from searches, and only so many writes may wait: beyond that callers are
told to come back (429), which keeps memory flat however fast they send. Writes that wait while one
is stored are stored together, each whole or not at all: the disk is synced once for all of them.

A *background import* is answered before: when its documents lie in the collection's inbox, durably.
They are encoded and stored afterwards, in small batches between which other writes have their turn.
Order is kept where it shows: a write waits for the imports before it that hold one of its documents.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from indexing.collection import Batch, UpsertResult
from lsr.core.errors import (
    ArgumentError,
    BackPressureError,
    BodyTooLargeError,
    DataError,
    LsrError,
    NotReadyError,
)
from lsr.core.sparse import Float32Array, SparseMatrix, SparseVector
from lsr.encoders.tracing import tracing
from serving.collection_source import CollectionSource
from serving.engine import Engine
from serving.importing import Imported, Line, LineProblem
from serving.inbox import Entry, Inbox
from serving.schemas_writing import DocumentIn
from serving.tasks import Task, TaskCancelled, Tasks

__all__ = ["INBOX_FOLDER", "Writer", "collection_of"]

INBOX_FOLDER = "inbox"

T = TypeVar("T")
logger = logging.getLogger(__name__)
# Between two batches other writes have their turn.
_ENCODE_BATCH = 32
# Documents of waiting writes that are stored in one transaction.
_MOST_TOGETHER = 256
# Before a background batch that failed is tried again: doubled each time.
_RETRY_S, _MAX_RETRY_S = 0.5, 30.0


def collection_of(engine: Engine) -> CollectionSource:
    """Return the collection behind an engine.

    Raises
    ------
    ArgumentError
        If it is an index folder, or open for reading only.
    """
    source = engine.source
    if not isinstance(source, CollectionSource):
        raise ArgumentError(
            f"{engine.name!r} is an index folder, which does not change.",
            hint="Documents are written to live collections: POST /v1/indexes, lsr index create.",
        )
    if not source.updatable:
        raise ArgumentError(
            f"The collection {engine.name!r} is served for reading only.",
            hint="Write through the service that runs without --read-only.",
        )
    return source


@dataclass(eq=False)
class _Pending:
    """A background import that is not done."""

    entry: Entry
    task: Task
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Writer:
    """Writes to one collection; its methods are called on the event loop.

    Parameters
    ----------
    engine : Engine
        Over an updatable collection.
    tasks : Tasks
        Where background imports are seen.
    max_waiting : int
        More waiting writes are refused with `BackPressureError`.
    max_inbox_bytes : int
        So much may lie in the inbox; more imports are refused with `BackPressureError`.
    """

    def __init__(
        self, engine: Engine, *, tasks: Tasks, max_waiting: int, max_inbox_bytes: int
    ) -> None:
        self._engine = engine
        self._source = collection_of(engine)
        self._tasks = tasks
        self._max_waiting = max_waiting
        self._max_inbox_bytes = max_inbox_bytes
        self._n_waiting = 0
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix=f"lsr-encode-{engine.name}")
        self._storing = ThreadPoolExecutor(1, thread_name_prefix=f"lsr-write-{engine.name}")
        self._inbox = Inbox(self._source.path / INBOX_FOLDER)
        self._waiting_groups: deque[tuple[Batch, asyncio.Future[UpsertResult]]] = deque()
        self._storing_groups: asyncio.Task[None] | None = None
        self._pending: list[_Pending] = []
        self._arriving_bytes = 0
        self._draining: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def pending(self) -> int:
        """Writes that run or wait."""
        return self._n_waiting

    @property
    def pending_documents(self) -> int:
        """Documents that were taken and are not in the collection yet."""
        return sum(p.entry.n_documents - p.task.done for p in self._pending)

    @property
    def inbox_bytes(self) -> int:
        """What lies in the inbox, and what is arriving."""
        return sum(p.entry.n_bytes for p in self._pending) + self._arriving_bytes

    # --- writes that are answered when they are done ----------------------------------------

    async def upsert(
        self, documents: Sequence[DocumentIn], *, patient: bool = False
    ) -> UpsertResult:
        """Encode and write documents: all of them, durably, or none.

        Parameters
        ----------
        patient : bool
            Wait however many wait already: for a stream that sends its next batch only then.

        Raises
        ------
        ArgumentError
            If a document has no vector and there is no document encoder.
        DataError, QueryError
            If a document or its vector breaks a rule.
        BackPressureError
            If too many writes wait already.
        NotReadyError
            If the writer was closed.
        """

        async def work() -> UpsertResult:
            await self._turn({document.doc_id for document in documents})
            return await self._write(documents)

        return await self._counted(work, patient=patient)

    async def delete(self, doc_ids: Sequence[str]) -> int:
        """Delete the documents of those ids that live; return how many."""

        async def work() -> int:
            await self._turn(set(doc_ids))
            return await self._run(self._storing, self._source.delete, doc_ids)

        return await self._counted(work)

    async def delete_where(self, filter: Any) -> int:
        """Delete the documents that pass a filter; return how many."""

        async def work() -> int:
            await self._turn(None)
            return await self._run(self._storing, self._source.delete_where, filter)

        return await self._counted(work)

    async def _counted(self, work: Callable[[], Awaitable[T]], *, patient: bool = False) -> T:
        self._require_open()
        if self._n_waiting >= self._max_waiting and not patient:
            raise BackPressureError(
                f"{self._n_waiting} writes to {self._engine.name!r} wait already.", retry_after_s=1
            )
        self._n_waiting += 1
        try:
            return await work()
        finally:
            self._n_waiting -= 1

    def _require_open(self) -> None:
        if self._stopping.is_set():
            raise NotReadyError("The collection is closing: the service stops, or deletes it.")

    async def _turn(self, doc_ids: set[str] | None) -> None:
        """Wait for the imports taken before that hold one of `doc_ids`; None for all of them."""
        for pending in list(self._pending):
            if doc_ids is None or not pending.entry.doc_ids.isdisjoint(doc_ids):
                await pending.ended.wait()
                self._require_open()

    async def _write(self, documents: Sequence[DocumentIn]) -> UpsertResult:
        vectors, origins = await self._vectors(documents)
        dense = await self._dense_vectors(documents)
        records = [document.record() for document in documents]
        done: asyncio.Future[UpsertResult] = asyncio.get_running_loop().create_future()
        self._waiting_groups.append((Batch(records, vectors, origins, dense), done))
        if self._storing_groups is None or self._storing_groups.done():
            self._storing_groups = asyncio.create_task(self._store_groups())
        # Not cancelled with its request: a write that began ends.
        return await asyncio.shield(done)

    async def _store_groups(self) -> None:
        """Write what waits; what comes meanwhile is the next write, synced once for all of it."""
        while self._waiting_groups:
            groups: list[tuple[Batch, asyncio.Future[UpsertResult]]] = []
            n_documents = 0
            while self._waiting_groups and n_documents < _MOST_TOGETHER:
                groups.append(self._waiting_groups.popleft())
                n_documents += len(groups[-1][0].documents)
            results: Sequence[UpsertResult | Exception]
            try:
                batches = [batch for batch, _ in groups]
                results = await self._run(self._storing, self._source.upsert_groups, batches)
            except Exception as error:  # noqa: BLE001 -- whatever failed belongs to those who wait
                results = [error] * len(groups)
            for (_, done), result in zip(groups, results, strict=True):
                if done.cancelled():
                    continue
                if isinstance(result, UpsertResult):
                    done.set_result(result)
                else:
                    done.set_exception(result)
                    done.exception()  # whoever waited may have gone: then nobody looks at it

    async def _vectors(
        self, documents: Sequence[DocumentIn]
    ) -> tuple[SparseMatrix, list[bytes] | None]:
        """Return the vectors that the documents bring, and the encoder's for the others.

        With packed origins where the collection keeps positions.
        """
        positions = self._source.collection.config.positions
        packed = [b""] * len(documents)
        engine = self._engine
        vectors: list[SparseVector | None] = [
            None if document.vector is None else engine.queries.vector(document.vector)
            for document in documents
        ]
        missing = [at for at, vector in enumerate(vectors) if vector is None]
        for start in range(0, len(missing), _ENCODE_BATCH):
            at = missing[start : start + _ENCODE_BATCH]
            encoder = engine.require_document_encoder()
            texts = [documents[i].record().content for i in at]
            if positions:
                encoded, origins = await self._run(self._encoding, tracing(encoder), texts)
                for i, blob in zip(at, origins.packed(encoded.indptr), strict=True):
                    packed[i] = blob
            else:
                encoded = await self._run(self._encoding, encoder.encode_documents, texts)
            for row, i in enumerate(at):
                vectors[i] = encoded.row(row)
        rows = [vector for vector in vectors if vector is not None]
        matrix = SparseMatrix.from_rows(rows, len(engine.vocabulary))
        return matrix, packed if positions else None

    async def _dense_vectors(
        self, documents: Sequence[DocumentIn]
    ) -> list[Float32Array | Sequence[float]] | None:
        """Return the dense vectors that the documents bring, and the bi-encoder's for the others.

        None where there are none: whether that fits, the collection says.
        """
        half, encoder = self._source.dense, self._engine.dense_encoder
        found: list[Float32Array | Sequence[float] | None] = [d.dense_vector for d in documents]
        missing = [at for at, vector in enumerate(found) if vector is None]
        if half is None:
            if len(missing) < len(found):
                raise DataError(
                    f"The collection {self._engine.name!r} has no dense half, so no place for "
                    "`dense_vector`.",
                    hint="Leave it out, or make a collection with `dense` or `dense_width`.",
                )
            return None
        if missing and encoder is None:
            raise DataError(
                f"The document {documents[missing[0]].doc_id!r} has no `dense_vector`, and the "
                f"collection {self._engine.name!r} has no bi-encoder to make one.",
                hint=f"Send {half.width} numbers with each document: without them hybrid searches "
                "would miss it.",
            )
        for start in range(0, len(missing), _ENCODE_BATCH):
            at = missing[start : start + _ENCODE_BATCH]
            assert encoder is not None, "checked above"
            texts = [documents[i].record().content for i in at]
            for i, row in zip(
                at, await self._run(self._encoding, encoder.encode, texts), strict=True
            ):
                found[i] = row
        return [vector for vector in found if vector is not None]

    async def _run(self, executor: Executor, work: Callable[..., T], *args: Any) -> T:
        # Not cancelled with its request: a write that began ends.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(executor, work, *args))

    # --- background imports -------------------------------------------------------------------

    async def take(self, lines: AsyncIterator[Line | LineProblem]) -> Task:
        """Put the documents of `lines` into the inbox, durably, and return the task of writing them.

        Parameters
        ----------
        lines : async iterator of Line and LineProblem
            Documents, and problems: what cannot be used is told in the task's result.

        Raises
        ------
        BackPressureError
            If the inbox is full.
        BodyTooLargeError
            If the import alone would not fit.
        ArgumentError
            If a document has no vector and there is no document encoder.
        """
        self._require_open()
        task = self._tasks.add("import", self._engine.name, interruptible=True)
        taken = 0
        try:
            with self._inbox.begin(task.id) as writing:
                async for line in lines:
                    if isinstance(line, Line) and line.document.vector is None:
                        self._engine.require_document_encoder()
                    writing.add(line)
                    self._arriving_bytes += writing.n_bytes - taken
                    taken = writing.n_bytes
                    self._require_room(taken)
                entry = await asyncio.to_thread(writing.finish)
        except BaseException:
            task.end("failed", LsrError("The import was not taken."))
            raise
        finally:
            self._arriving_bytes -= taken
        self._accept(_Pending(entry, task))
        return task

    def _require_room(self, taken: int) -> None:
        if taken > self._max_inbox_bytes:
            raise BodyTooLargeError(
                f"The import is larger than the inbox: {self._max_inbox_bytes:,} bytes.",
                hint="Send it in parts, or raise LSR_SERVE_MAX_INBOX_BYTES.",
            )
        if self.inbox_bytes > self._max_inbox_bytes:
            raise BackPressureError(
                f"{self.pending_documents:,} documents of {self._engine.name!r} wait already.",
                retry_after_s=10,
            )

    def _accept(self, pending: _Pending) -> None:
        pending.task.expect(pending.entry.n_documents, "documents")
        self._pending.append(pending)
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())

    async def resume(self) -> None:
        """Go on with what a service that ended left in the inbox."""
        for entry in await asyncio.to_thread(self._inbox.entries):
            task = self._tasks.add(
                "import", self._engine.name, interruptible=True, task_id=entry.task_id
            )
            logger.info("%s: %d documents wait in the inbox", self._engine.name, entry.n_documents)
            self._accept(_Pending(entry, task))

    async def _drain(self) -> None:
        wait = _RETRY_S
        while self._pending and not self._stopping.is_set():
            pending = self._pending[0]
            pending.task.begin()
            pending.task.done = 0
            try:
                done = await self._import(pending)
            except TaskCancelled:
                self._inbox.remove(pending.entry)
                pending.task.end("cancelled")
            except Exception as error:
                # What was taken is not given up, and nothing behind it is let past.
                logger.exception("The import %s is tried again", pending.task.id)
                pending.task.trouble = f"{type(error).__name__}; the service's log has more"
                await self._pause(wait)
                wait = min(2 * wait, _MAX_RETRY_S)
                continue
            else:
                if done is None:  # closed half way
                    return
                self._inbox.remove(pending.entry)
                pending.task.result = done.body()
                pending.task.end("succeeded")
            self._pending.remove(pending)
            pending.ended.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _import(self, pending: _Pending) -> Imported | None:
        """Write an import's documents; None if the writer was closed before all were written."""
        done = Imported()
        batch: list[Line] = []
        for line in pending.entry.lines():
            if isinstance(line, LineProblem):
                done.refuse(line.line, line.message)
                continue
            batch.append(line)
            if len(batch) >= _ENCODE_BATCH:
                if not await self._import_batch(pending, batch, done):
                    return None
                batch = []
        return done if await self._import_batch(pending, batch, done) else None

    async def _import_batch(self, pending: _Pending, batch: list[Line], done: Imported) -> bool:
        """Write a batch, trying again whatever may pass; return False if the writer was closed."""
        wait = _RETRY_S
        while batch:
            pending.task.check()
            if self._stopping.is_set():
                return False
            try:
                await done.write(batch, self._write)
            except LsrError as error:
                # A full disk, an encoder that fell over: it may pass.
                if pending.task.trouble != str(error):
                    logger.warning("The import %s waits: %s", pending.task.id, error)
                pending.task.trouble = str(error)
                await self._pause(wait)
                wait = min(2 * wait, _MAX_RETRY_S)
                continue
            pending.task.trouble = ""
            pending.task.done += len(batch)
            break
        return True

    async def close(self) -> None:
        """Finish the writes that were taken; what lies in the inbox is done after the next start."""
        self._stopping.set()
        for pending in self._pending:
            pending.ended.set()
        while self._n_waiting:
            await asyncio.sleep(0.01)
        for running in (self._draining, self._storing_groups):
            if running is not None:
                await running
        for pending in self._pending:
            # Deleted with its collection; or the service stops, and the next one takes it up.
            pending.task.end("cancelled")
        for executor in (self._encoding, self._storing):
            await asyncio.to_thread(executor.shutdown)
