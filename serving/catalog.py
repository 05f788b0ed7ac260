"""The indexes of a running service by name: opened, handed out, made and deleted while it runs.

What a request uses is lent to it: an index that is deleted meanwhile answers the requests that have
it, and is closed when the last one gives it back.

A service that only reads looks at the data folder before each request (one system call) and takes
over what the writing service made or deleted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from lsr.core.artifact import MANIFEST_NAME
from lsr.core.errors import (
    ArgumentError,
    IndexExistsError,
    IndexNotFoundError,
    IndexUnavailableError,
    LsrError,
    near_names,
)
from serving.batching import QueryBatcher
from serving.collection_source import CollectionSource
from serving.data_folder import DataFolder, check_name
from serving.encoding import DocumentEncoders
from serving.engine import Engine
from serving.metrics import Metrics
from serving.probe import RecallProbe
from serving.settings import IndexSource, ServeSettings
from serving.tasks import Tasks
from serving.writing import Writer

__all__ = ["LOOKUP_MS", "Catalog", "Served"]

LOOKUP_MS = 1.0
"""Queries that take longer to encode are gathered into batches."""

logger = logging.getLogger(__name__)


class Served:
    """An open index and what stands in front of it; lent with ``with``.

    Attributes
    ----------
    engine : Engine
    batcher : QueryBatcher or None
        Where queries gain from being encoded together.
    writer : Writer or None
        Where documents can be written.
    """

    def __init__(
        self, engine: Engine, *, batcher: QueryBatcher | None = None, writer: Writer | None = None
    ) -> None:
        self.engine = engine
        self.batcher = batcher
        self.writer = writer
        self._n_users = 0
        self._given_back = asyncio.Event()

    def __enter__(self) -> Self:
        self._n_users += 1
        return self

    def __exit__(self, *exception: object) -> None:
        self._n_users -= 1
        self._given_back.set()

    async def close(self) -> None:
        """Close it once nobody uses it any more; writes that were taken are finished."""
        while self._n_users:
            self._given_back.clear()
            await self._given_back.wait()
        if self.batcher is not None:
            await self.batcher.close()
        if self.writer is not None:
            await self.writer.close()
        await asyncio.to_thread(self.engine.close)


class Catalog:
    """The open indexes of one service.

    Parameters
    ----------
    settings : ServeSettings
    sources : sequence of IndexSource
        What is opened at the start; cannot be deleted.
    engines : sequence of Engine
        What is open already; the same.
    encoders : DocumentEncoders
        Encode the documents of collections.
    tasks : Tasks
        Show background imports.
    metrics : Metrics
        Counts batches.
    probe : RecallProbe, optional
        Measures recall.

    Attributes
    ----------
    data : DataFolder or None
        Of the collections made over HTTP; open between `open` and `close`.
    unavailable : dict of str to LsrError
        The collections of the data folder that could not be opened, and why.
    """

    def __init__(
        self,
        settings: ServeSettings,
        sources: Sequence[IndexSource],
        engines: Sequence[Engine],
        *,
        encoders: DocumentEncoders,
        tasks: Tasks,
        metrics: Metrics,
        probe: RecallProbe | None = None,
    ) -> None:
        self.data: DataFolder | None = None
        self.unavailable: dict[str, LsrError] = {}
        self._settings = settings
        self._sources = tuple(sources)
        self._engines = tuple(engines)
        self._encoders = encoders
        self._tasks = tasks
        self._metrics = metrics
        self._probe = probe
        self._served: dict[str, Served] = {}
        # What is served from the data folder, with what tells it from a later one of its name.
        self._kept: dict[str, tuple[int, int]] = {}
        self._deleting: set[str] = set()
        self._stamp = -1
        self._changing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    # --- life ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Open and warm up every index.

        Raises
        ------
        LsrError
            Whatever keeps an index that was asked for from being opened. A damaged collection of
            the data folder keeps only itself from being served.
        """
        for engine in self._engines:
            await self._admit(engine)
        for source in self._sources:
            await self._open(source)
        if self._settings.data is not None:
            self.data = await asyncio.to_thread(
                DataFolder, self._settings.data, writable=not self._settings.read_only
            )
            await self._look(self.data)

    async def close(self) -> None:
        """Close every index once it is given back; it may be opened again."""
        await asyncio.gather(*self._leaving, *(served.close() for served in self._served.values()))
        self._served.clear()
        self._kept.clear()
        self.unavailable.clear()
        if self.data is not None:
            self.data.close()
            self.data = None

    async def _open(self, source: IndexSource) -> Served:
        started = time.perf_counter()
        writable = not self._settings.read_only
        engine = await asyncio.to_thread(_opened, source, writable, self._encoders)
        try:
            served = await self._admit(engine)
        except BaseException:
            engine.close()
            raise
        logger.info(
            "Serving %s: %d documents, opened in %.2f s",
            engine.name,
            engine.n_documents,
            time.perf_counter() - started,
        )
        return served

    async def _admit(self, engine: Engine) -> Served:
        await asyncio.to_thread(engine.warm_up)
        engine.probe = self._probe
        batcher = writer = None
        # Encoders that look their weights up gain nothing from company and would pay for the way
        # through the queue. Which kind one is, is measured: it depends on the machine too.
        if engine.query_ms > LOOKUP_MS:
            batcher = QueryBatcher(
                engine.queries.encode,
                # Its own thread: a model at work must not keep searches from theirs.
                ThreadPoolExecutor(1, thread_name_prefix=f"lsr-encode-{engine.name}"),
                max_waiting=self._settings.max_waiting,
                observe=lambda size: self._metrics.encode_batch.observe(size, engine.name),
            )
        if engine.source.updatable:
            writer = Writer(
                engine,
                tasks=self._tasks,
                max_waiting=self._settings.max_waiting_writes,
                max_inbox_bytes=self._settings.max_inbox_bytes,
            )
            await writer.resume()
        served = self._served[engine.name] = Served(engine, batcher=batcher, writer=writer)
        return served

    async def _look(self, data: DataFolder) -> None:
        """Take over what came to and went from the data folder."""
        async with self._changing:
            self._stamp = data.stamp()
            found = {name: _identity(path) for name, path in data.collections().items()}
            for name in [n for n, known in self._kept.items() if found.get(n) != known]:
                self._dismiss(name)
            for name, identity in found.items():
                if name not in self._kept:
                    await self._keep(name, data.collection(name), identity)

    async def _keep(self, name: str, path: Path, identity: tuple[int, int]) -> None:
        if name in self._served:
            logger.error("%s of the data folder is hidden by an index of the same name.", name)
            return
        self._kept[name] = identity
        self.unavailable.pop(name, None)
        try:
            await self._open(IndexSource(name, path))
        except LsrError as error:
            logger.error("%s cannot be served: %s", name, error)
            self.unavailable[name] = error

    def _dismiss(self, name: str) -> asyncio.Task[None] | None:
        """Take a kept index out of service; return what closes it when it is given back."""
        self._kept.pop(name, None)
        self.unavailable.pop(name, None)
        served = self._served.pop(name, None)
        if served is None:
            return None
        task = asyncio.create_task(served.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    # --- use -----------------------------------------------------------------------------

    def all(self) -> list[Served]:
        """Return what is served, in the order of the names."""
        return [self._served[name] for name in sorted(self._served)]

    async def refresh(self) -> None:
        """Look whether another process changed the data folder, where this one only reads."""
        if self.data is not None and self._settings.read_only and self.data.stamp() != self._stamp:
            await self._look(self.data)

    async def use(self, name: str) -> Served:
        """Return the index `name`, to be held by ``with`` before anything else is awaited.

        Raises
        ------
        IndexNotFoundError
            If there is none of this name.
        IndexUnavailableError
            If it could not be opened.
        """
        await self.refresh()
        served = self._served.get(name)
        if served is None:
            if name in self.unavailable:
                raise IndexUnavailableError(
                    f"The collection {name!r} cannot be served: {self.unavailable[name].message}",
                    hint=self.unavailable[name].hint,
                )
            raise IndexNotFoundError(
                f"No index is called {name!r}.{near_names(name, self._served)}",
                hint="GET /v1/indexes lists the indexes.",
            )
        return served

    def require_data(self, *, writing: bool = True) -> DataFolder:
        """Return the data folder.

        Raises
        ------
        ArgumentError
            If the service has none, or only reads and `writing` is wanted.
        """
        if self.data is None:
            raise ArgumentError(
                "The service keeps no collections and no snapshots: it has no data folder.",
                hint="Start it with --data DIR.",
            )
        if writing and self._settings.read_only:
            raise ArgumentError(
                "The service only reads.", hint="Ask the one that runs without --read-only."
            )
        return self.data

    def require_free(self, name: str) -> None:
        """Check that a collection may be called `name`.

        Raises
        ------
        RequestError, IndexExistsError
            If the name breaks the rule, or is taken.
        """
        check_name(name, "name")
        if name in self._served or name in self._kept or name in self._deleting:
            raise IndexExistsError(
                f"An index is called {name!r} already.",
                hint="Choose another name, or delete that one.",
            )

    async def make(self, name: str, make: Callable[[Path], None]) -> Served:
        """Let `make` write a collection to the folder it is given, and serve it as `name`.

        Parameters
        ----------
        make : callable
            Writes the folder whole or not at all; runs in a thread.

        Raises
        ------
        LsrError
            Of `require_data`, `require_free`, `make`, or of opening what it made.
        """
        data = self.require_data()
        self.require_free(name)
        async with self._changing:
            self.require_free(name)
            path = data.collection(name)
            await asyncio.to_thread(make, path)
            self._kept[name] = _identity(path)
            try:
                return await self._open(IndexSource(name, path))
            except LsrError as error:
                self.unavailable[name] = error
                raise

    async def delete(self, name: str) -> None:
        """Delete a collection of the data folder; requests and tasks that have it end first.

        Raises
        ------
        IndexNotFoundError
            If there is none of this name.
        ArgumentError
            If it was named when the service started, so is not the service's to delete.
        """
        data = self.require_data()
        if name not in self._kept:
            await self.use(name)
            raise ArgumentError(
                f"{name!r} was given to the service when it started; it is not deleted here.",
                hint="Only collections of the data folder are: those made over HTTP.",
            )
        self._deleting.add(name)
        try:
            leaving = self._dismiss(name)
            if leaving is not None:
                await leaving
            await asyncio.to_thread(data.remove_collection, name)
        finally:
            self._deleting.discard(name)


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a collection from another one at its place: a manifest is written once."""
    try:
        status = (path / MANIFEST_NAME).stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _opened(source: IndexSource, writable: bool, encoders: DocumentEncoders) -> Engine:
    engine = Engine.open(source.path, name=source.name, examples=source.examples, writable=writable)
    if isinstance(engine.source, CollectionSource):
        wanted = engine.source.collection.manifest.details.get("document_encoder")
        own = engine.document_encoder
        if wanted is not None and getattr(own, "fingerprint", None) != wanted["fingerprint"]:
            engine.document_encoder = encoders.bound(wanted["name"], wanted["fingerprint"])
        collection = engine.source.collection
        if collection.dense_encoder_path is not None:
            half = collection.manifest.details["dense"]
            engine.dense_encoder = encoders.bound_dense(
                collection.dense_encoder_path, half["encoder"], half["fingerprint"]
            )
    return engine
