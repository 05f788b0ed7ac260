"""The engines of a running service, with the threads and batches in front of them.

Routes talk to this; it talks to engines. Kernels and file reads run in its threads, never on the
event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from lsr.core.errors import (
    ConfigError,
    IndexNotFoundError,
    NotReadyError,
    OverloadedError,
    near_names,
)
from lsr.core.sparse import SparseVector
from serving.batching import QueryBatcher
from serving.collection_source import CollectionSource
from serving.engine import Engine
from serving.keys import KeyRing
from serving.metrics import Metrics
from serving.schemas import Took
from serving.settings import IndexSource, ServeSettings
from serving.writing import Writer, collection_of

__all__ = ["LOOKUP_MS", "Service"]

LOOKUP_MS = 1.0
"""Queries that take longer to encode are gathered into batches."""

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """What the routes of one application share.

    Parameters
    ----------
    settings : ServeSettings
        Threads, limits, keys.
    sources : sequence of IndexSource
        The indexes to open at the start.
    engines : sequence of Engine
        Engines that are open already, served beside them.

    Attributes
    ----------
    metrics : Metrics
        Of this service alone.
    keys : KeyRing or None
        None: every caller may do everything.
    ready : bool
        Started and not stopping.
    """

    def __init__(
        self,
        settings: ServeSettings,
        sources: Sequence[IndexSource] = (),
        engines: Sequence[Engine] = (),
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.keys = KeyRing.load(settings.keys_file) if settings.keys_file else None
        if self.keys is not None and not self.keys.keys:
            raise ConfigError(
                f"{settings.keys_file} holds no key, so nobody could use the service.",
                hint=f"lsr keys add NAME --file {settings.keys_file}",
            )
        self.ready = False
        self._sources = tuple(sources)
        self._engines = {engine.name: engine for engine in engines}
        self._batchers: dict[str, QueryBatcher] = {}
        self._writers: dict[str, Writer] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._in_flight = 0
        self.metrics.add_gauge(
            "lsr_index_documents",
            "Documents in an index.",
            ("index",),
            lambda: [((e.name,), float(e.n_documents)) for e in self.engines()],
        )
        for name, description, key in (
            ("lsr_collection_segments", "Sealed segments of a collection.", "segments"),
            ("lsr_collection_head_documents", "Documents not sealed yet.", "head_documents"),
            ("lsr_collection_generation", "Writes that a collection has seen.", "generation"),
        ):
            self.metrics.add_gauge(name, description, ("index",), partial(self._sizes, key))
        self.metrics.add_gauge(
            "lsr_writes_pending",
            "Writes that run or wait.",
            ("index",),
            lambda: [((name,), float(w.pending)) for name, w in self._writers.items()],
        )
        self.metrics.add_gauge(
            "lsr_requests_in_flight",
            "Requests that run in a thread or wait for one.",
            (),
            lambda: [((), float(self._in_flight))],
        )

    def _sizes(self, key: str) -> list[tuple[tuple[str, ...], float]]:
        sizes: list[tuple[tuple[str, ...], float]] = []
        for engine in self.engines():
            if isinstance(engine.source, CollectionSource):
                value = engine.source.collection.stats()[key]
                size = len(value) if isinstance(value, list) else value
                sizes.append(((engine.name,), float(size)))
        return sizes

    # --- life ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the indexes, warm them up, and be ready.

        Raises
        ------
        LsrError
            Whatever keeps an index from being opened.
        """
        self._executor = ThreadPoolExecutor(self.settings.threads, thread_name_prefix="lsr-search")
        loop = asyncio.get_running_loop()
        for source in self._sources:
            started = time.perf_counter()
            engine = await loop.run_in_executor(
                self._executor, _opened, source, not self.settings.read_only
            )
            self._engines[engine.name] = engine
            logger.info(
                "Serving %s: %d documents, opened in %.2f s",
                engine.name,
                engine.n_documents,
                time.perf_counter() - started,
            )
        for engine in self._engines.values():
            await loop.run_in_executor(self._executor, engine.warm_up)
            if engine.source.updatable:
                self._writers[engine.name] = Writer(
                    engine.name, max_waiting=self.settings.max_waiting_writes
                )
            # Encoders that look their weights up gain nothing from company and would pay for the
            # way through the queue. Which kind one is, is measured: it depends on the machine too.
            if engine.query_ms > LOOKUP_MS:
                self._batchers[engine.name] = QueryBatcher(
                    engine.queries.encode,
                    # Its own thread: a model at work must not keep searches from theirs.
                    ThreadPoolExecutor(1, thread_name_prefix=f"lsr-encode-{engine.name}"),
                    max_waiting=self.settings.max_waiting,
                    observe=self._batch_observer(engine.name),
                )
        self.ready = True

    def _batch_observer(self, name: str) -> Callable[[int], None]:
        return lambda size: self.metrics.encode_batch.observe(size, name)

    async def stop(self) -> None:
        """Refuse new work, finish what runs, close the indexes."""
        self.ready = False
        for batcher in self._batchers.values():
            await batcher.close()
        for writer in self._writers.values():
            await asyncio.to_thread(writer.close)
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)
        for engine in self._engines.values():
            engine.close()

    # --- work ----------------------------------------------------------------------------

    def engines(self) -> list[Engine]:
        """Return the engines in the order of their names."""
        return [self._engines[name] for name in sorted(self._engines)]

    def engine(self, name: str) -> Engine:
        """Return the engine of an index.

        Raises
        ------
        NotReadyError
            Before the start and while stopping.
        IndexNotFoundError
            If there is none of this name.
        """
        if not self.ready:
            raise NotReadyError("The service is starting or shutting down.", hint="Try again.")
        try:
            return self._engines[name]
        except KeyError:
            raise IndexNotFoundError(
                f"No index is called {name!r}.{near_names(name, self._engines)}",
                hint="GET /v1/indexes lists the indexes.",
            ) from None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns, run in a thread.

        Raises
        ------
        OverloadedError
            If too many requests wait already.
        """
        if self._executor is None:
            raise NotReadyError("The service is starting or shutting down.", hint="Try again.")
        if self._in_flight >= self.settings.max_waiting + self.settings.threads:
            raise OverloadedError(f"{self.settings.max_waiting} requests wait already.")
        self._in_flight += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))
        finally:
            self._in_flight -= 1

    def writer(self, engine: Engine) -> Writer:
        """Return what runs the writes of a collection.

        Raises
        ------
        ArgumentError
            If the engine's index does not change.
        """
        collection_of(engine)
        return self._writers[engine.name]

    async def encode_together(self, engine: Engine, text: str) -> SparseVector | None:
        """Return the text's vector if it gains from company; None leaves it to the search."""
        batcher = self._batchers.get(engine.name)
        if batcher is None:
            return None
        engine.queries.check_text(text)
        return await batcher.encode(text)

    def observe(self, index: str, times: Took) -> None:
        """Count the stages of one search."""
        for stage in ("encode", "search", "fetch"):
            self.metrics.stage_seconds.observe(getattr(times, stage) / 1000, index, stage)


def _opened(source: IndexSource, writable: bool) -> Engine:
    return Engine.open(source.path, name=source.name, examples=source.examples, writable=writable)
