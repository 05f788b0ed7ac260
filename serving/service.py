"""The indexes of a running service, with the threads and tasks that work on them.

Routes talk to this; it talks to engines. Kernels and file reads run in its threads, never on the
event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from lsr.core.errors import ConfigError, NotReadyError, OverloadedError
from lsr.core.sparse import SparseVector
from serving.catalog import Catalog, Served
from serving.collection_source import CollectionSource
from serving.encoding import DocumentEncoders, named_encoders, named_paths
from serving.engine import Engine
from serving.forwarding import Place, merged
from serving.keys import KeyFile
from serving.metrics import Metrics
from serving.probe import RecallProbe
from serving.rate_limit import RateLimiter
from serving.schemas_search import Took
from serving.settings import IndexSource, ServeSettings
from serving.tasks import Tasks
from serving.writing import Writer

__all__ = ["Service"]

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
    keys : KeyFile or None
        None: every caller may do everything.
    catalog : Catalog
        The indexes.
    encoders : DocumentEncoders
        What collections may be made with.
    tasks : Tasks
        Long work.
    place : Place or None
        This process among several.
    limiter : RateLimiter or None
        How often callers may ask.
    ready : bool
        Started and not stopping.
    """

    def __init__(
        self,
        settings: ServeSettings,
        sources: Sequence[IndexSource] = (),
        engines: Sequence[Engine] = (),
        *,
        place: Place | None = None,
    ) -> None:
        self.settings = settings
        self.place = place
        self.limiter: RateLimiter | None = None
        if settings.rate is not None:
            shared = place.folder / "limits" if place is not None else None
            self.limiter = RateLimiter(settings.rate, settings.rate_burst, path=shared)
        self.probe = RecallProbe(settings.probe_share) if settings.probe_share else None
        self.metrics = Metrics()
        self.keys = KeyFile(settings.keys_file) if settings.keys_file else None
        if self.keys is not None and not self.keys.ring.keys:
            raise ConfigError(
                f"{settings.keys_file} holds no key, so nobody could use the service.",
                hint=f"lsr keys add NAME --file {settings.keys_file}",
            )
        self.ready = False
        self.tasks = Tasks()
        self.encoders = DocumentEncoders(
            named_encoders(settings.encoders), named_paths(settings.dense_encoders)
        )
        self.catalog = Catalog(
            settings,
            sources,
            engines,
            encoders=self.encoders,
            tasks=self.tasks,
            metrics=self.metrics,
            probe=self.probe,
        )
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
        if self.probe is not None:
            for name, description, read in (
                ("lsr_recall", "Recall of the latest probed searches.", self.probe.recalls),
                ("lsr_recall_probes", "Searches that were probed.", self.probe.counts),
            ):
                self.metrics.add_gauge(name, description, ("index", "k"), read)
        self.metrics.add_gauge(
            "lsr_writes_pending",
            "Writes that run or wait.",
            ("index",),
            lambda: [((name,), float(w.pending)) for name, w in self._writers()],
        )
        self.metrics.add_gauge(
            "lsr_documents_pending",
            "Documents of background imports that are not in their collection yet.",
            ("index",),
            lambda: [((name,), float(w.pending_documents)) for name, w in self._writers()],
        )
        self.metrics.add_gauge(
            "lsr_requests_in_flight",
            "Requests that run in a thread or wait for one.",
            (),
            lambda: [((), float(self._in_flight))],
        )

    async def metrics_text(self, *, internal: bool, authorization: str) -> str:
        """Return the metrics of the whole service; of this process alone to its siblings."""
        await self.catalog.refresh()
        own = await asyncio.to_thread(self.metrics.render)
        if self.place is None or internal:
            return own
        return await merged(self.place, own, authorization=authorization)

    def _writers(self) -> list[tuple[str, Writer]]:
        return [(s.engine.name, s.writer) for s in self.catalog.all() if s.writer is not None]

    def _sizes(self, key: str) -> list[tuple[tuple[str, ...], float]]:
        sizes: list[tuple[tuple[str, ...], float]] = []
        for engine in self.engines():
            if isinstance(engine.source, CollectionSource):
                try:
                    value = engine.source.collection.stats()[key]
                except FileNotFoundError:  # deleted by another process since the last look
                    continue
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
        await self.catalog.open()
        self.ready = True

    async def stop(self) -> None:
        """Refuse new work, finish what runs, close the indexes."""
        self.ready = False
        await self.tasks.close()
        if self.probe is not None:
            await asyncio.to_thread(self.probe.close)
        await self.catalog.close()
        await asyncio.to_thread(self.encoders.close)
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)
        if self.limiter is not None:
            self.limiter.close()

    # --- work ----------------------------------------------------------------------------

    def engines(self) -> list[Engine]:
        """Return the engines in the order of their names."""
        return [served.engine for served in self.catalog.all()]

    async def use(self, name: str) -> Served:
        """Return the index `name`, to be held by ``with`` before anything else is awaited.

        Raises
        ------
        NotReadyError
            Before the start and while stopping.
        IndexNotFoundError, IndexUnavailableError
            If there is none of this name, or it could not be opened.
        """
        if not self.ready:
            raise NotReadyError("The service is starting or shutting down.", hint="Try again.")
        return await self.catalog.use(name)

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

    async def encode_together(self, served: Served, text: str) -> SparseVector | None:
        """Return the text's vector if it gains from company; None leaves it to the search."""
        if served.batcher is None:
            return None
        served.engine.queries.check_text(text)
        return await served.batcher.encode(text)

    def observe(self, index: str, times: Took) -> None:
        """Count the stages of one search."""
        for stage in ("encode", "search", "fetch"):
            self.metrics.stage_seconds.observe(getattr(times, stage) / 1000, index, stage)
