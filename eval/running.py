"""A suite's systems over its collections: searched or taken from the cache, then scored.

`Runner.ran` dispatches on the kind of a system. A system that is made of others (fusion,
re-ranking) asks for their runs, which are cached like its own.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.cache import RUN_FORMAT, Ran, content_hash, run_hash
from eval.evaluate import drops_self, evaluate_run
from eval.fusion import best_weight, convex_combination, reciprocal_rank_fusion, weight_scores
from eval.measures import parse_measures, score_queries, summarise
from eval.results import Efficiency, Results
from eval.runs import RunTable
from eval.suite import Suite
from eval.systems import (
    ConvexSystem,
    DenseSystem,
    LuceneBm25System,
    LuceneImpactSystem,
    RerankSystem,
    RrfSystem,
    RunSystem,
    SparseSystem,
    System,
)
from eval.workbench import BenchOptions, Workbench, resolve_model
from lsr.core.errors import (
    ArgumentError,
    DatasetNotFoundError,
    DownloadError,
    EncoderNotFoundError,
    MissingDependencyError,
)

__all__ = ["ABSENT", "Runner", "Skipped", "run_suite"]

logger = logging.getLogger(__name__)

ABSENT = (DatasetNotFoundError, DownloadError, EncoderNotFoundError, MissingDependencyError)
"""What a machine may lack; anything else that a system raises is an error."""


@dataclass(frozen=True)
class Skipped:
    """A system and a collection that could not be run here, and why."""

    system: str
    collection: str
    reason: str


class Runner:
    """Runs the systems of a suite; workbenches and runs are kept while it lives.

    Parameters
    ----------
    suite : Suite
        What to run.
    options : BenchOptions
        Places and speed.
    command : str
        Runs the suite; each result is given it with its own collection and system.
    """

    def __init__(self, suite: Suite, options: BenchOptions, *, command: str = "") -> None:
        self.suite = suite
        self.options = options
        self._command = command
        self._systems = {system.name: system for system in suite.systems}
        self._collections = {c.name: c for c in suite.collections}
        self._benches: dict[str, Workbench] = {}
        self._runs: dict[tuple[str, str], Ran] = {}
        self._weights: dict[tuple[tuple[str, str], str, str], list[float]] = {}

    def bench(self, collection: str) -> Workbench:
        """Return the workbench of a collection."""
        if collection not in self._benches:
            self._benches[collection] = Workbench(self._collections[collection], self.options)
        return self._benches[collection]

    def result(self, collection: str, system: str) -> Results:
        """Return the scores of a system on a collection.

        Raises
        ------
        LsrError
            If the collection, a model or a package is missing, or anything fails.
        """
        bench = self.bench(collection)
        ran = self.ran(collection, system)
        scored = evaluate_run(
            ran.run,
            bench.topics,
            bench.config.model_copy(update={"drop_self": False}),
            system=system,
            efficiency=ran.efficiency,
            truncation=ran.truncation,
            command=self._command_of(collection, system),
        )
        about = (bench.collection.about,) if bench.collection.about else ()
        return scored.model_copy(
            update={
                "dataset": collection,
                "split": "test",
                "notes": (*about, *scored.notes, *ran.notes),
            }
        )

    def _command_of(self, collection: str, system: str) -> str:
        if not self._command:
            return ""
        return f"{self._command} {shlex.join(['-c', collection, '-s', system])}"

    def ran(self, collection: str, name: str) -> Ran:
        """Return the run of a system on a collection, from memory, the cache, or now."""
        known = self._runs.get((collection, name))
        if known is not None:
            return known
        bench, system = self.bench(collection), self._systems[name]
        found = self._make(bench, system)
        if drops_self(bench.dataset.name, bench.config):
            # Before any fusion: a self-match would set the maximum that scores are divided by.
            kept = found.run.without_self_matches()
            dropped = found.run.n_results - kept.n_results
            note = (f"{dropped} self-matches dropped",) if dropped else ()
            found = found._replace(run=kept, notes=(*found.notes, *note))
        self._runs[collection, name] = found
        return found

    def _make(self, bench: Workbench, system: System) -> Ran:
        name = bench.collection.name
        if isinstance(system, RunSystem):
            return _stored(bench, system)
        if isinstance(system, RrfSystem):
            runs = [self.ran(name, part).run for part in system.of]
            fused = reciprocal_rank_fusion(runs, k=system.k, depth=bench.collection.k)
            return Ran(fused, self._cost_of_parts(name, system.of))
        if isinstance(system, ConvexSystem):
            return self._convex(bench, system)
        if isinstance(system, RerankSystem):
            return self._reranked(bench, system)
        # Imported on use: Java, faiss and numba have no part in what only reads runs.
        if isinstance(system, SparseSystem | DenseSystem):
            from eval.searching import search_dense, search_sparse

            search = search_dense if isinstance(system, DenseSystem) else search_sparse
            return self._cached(bench, system, self._key_of(bench, system), search)
        from eval.searching_lucene import search_lucene_bm25, search_lucene_impacts

        if isinstance(system, LuceneBm25System):
            return self._cached(bench, system, "", search_lucene_bm25)
        return self._cached(bench, system, self._key_of(bench, system), search_lucene_impacts)

    def _key_of(
        self, bench: Workbench, system: SparseSystem | DenseSystem | LuceneImpactSystem
    ) -> str:
        """Return a hash over what decides the vectors of a system's encoder."""
        if isinstance(system, DenseSystem):
            return bench.dense_encoder(system.encoder).fingerprint
        return bench.encoder_key(resolve_model(system.encoder, self.options.models))

    def _cached(
        self,
        bench: Workbench,
        system: Any,
        encoder_key: str,
        make: Callable[[Workbench, Any], Ran],
        *,
        timed: bool = True,
    ) -> Ran:
        config = system.model_dump(mode="json", exclude={"name", "about", "hidden", "encoder"})
        parts = {
            "encoder": encoder_key,
            "system": config,
            "documents": bench.documents_hash,
            "queries": bench.queries_hash,
            "k": bench.collection.k,
            "format": RUN_FORMAT,
        }
        key = content_hash(parts)
        found = bench.cache.load_run(key)
        # A run that was not timed is made again when times are asked for, and then replaced.
        if found is None or (timed and self.options.timing and not found.efficiency.search):
            logger.info("Searching %s with %s", bench.collection.name, system.name)
            found = make(bench, system)
            bench.cache.save_run(key, found, parts)
        return found

    def _convex(self, bench: Workbench, system: ConvexSystem) -> Ran:
        name, depth = bench.collection.name, bench.collection.k
        weight = system.weight
        notes: tuple[str, ...] = ()
        if weight is None:
            source = bench.collection.source
            others = [c for c in system.tuned_on if self._collections[c].source != source]
            if not others:
                raise ArgumentError(
                    f"{system.name!r} has no collection but {name} itself to be tuned on.",
                    hint="Name others in tuned_on.",
                )
            weight = best_weight([self._weight_scores(system, other) for other in others])
            notes = (f"weight of {system.of[0]} {weight:g}, tuned on {', '.join(others)}",)
        runs = [self.ran(name, part).run for part in system.of]
        fused = convex_combination(runs, [weight, 1 - weight], depth=depth)
        return Ran(fused, self._cost_of_parts(name, system.of), notes=notes)

    def _cost_of_parts(self, collection: str, parts: Sequence[str]) -> Efficiency:
        """Return what a fusion keeps on disk: all that its parts keep."""
        known = {
            f"{part} {name}": count
            for part in parts
            for name, count in (self.ran(collection, part).efficiency.index_bytes or {}).items()
        }
        return Efficiency(index_bytes=known or None)

    def _weight_scores(self, system: ConvexSystem, collection: str) -> list[float]:
        """Return what each weight scores on a collection; every hybrid asks for it many times."""
        at = (system.of, system.tuned_for, collection)
        if at not in self._weights:
            measures = parse_measures([system.tuned_for])
            bench = self.bench(collection)
            first, second = (self.ran(collection, part).run for part in system.of)

            def score(run: RunTable) -> float:
                scored = score_queries(run, bench.topics.qrels, measures)
                return next(iter(summarise(scored, measures).values()))

            self._weights[at] = weight_scores(first, second, score, depth=bench.collection.k)
        return self._weights[at]

    def _reranked(self, bench: Workbench, system: RerankSystem) -> Ran:
        from eval.searching import rerank

        by = self._systems[system.by]
        if not isinstance(by, SparseSystem | DenseSystem):
            raise ArgumentError(
                f"{system.name!r} cannot re-rank by {by.name!r}: only sparse and dense systems "
                f"score single documents, it is {by.kind!r}."
            )
        first = self.ran(bench.collection.name, system.first).run.top(system.depth)
        key = content_hash({"first": run_hash(first), "by": self._key_of(bench, by)})
        return self._cached(
            bench, system, key, lambda bench, _: rerank(bench, first, by), timed=False
        )


def _stored(bench: Workbench, system: RunSystem) -> Ran:
    name = bench.collection.name
    if name not in system.runs:
        raise DatasetNotFoundError(f"The system {system.name!r} has no run for {name}.")
    path = Path(system.runs[name])
    folder = getattr(bench.dataset, "folder", None)
    if folder is not None and not path.is_absolute():
        path = Path(folder) / path
    return Ran(RunTable.load(path))


def run_suite(
    runner: Runner, *, wanted: Collection[tuple[str, str]] | None = None
) -> tuple[list[Results], list[Skipped]]:
    """Return the results of all systems on all collections, and what could not be run here.

    Only what is absent (data, models, packages) is skipped; anything else is an error.

    Parameters
    ----------
    runner : Runner
        With its suite.
    wanted : collection of (str, str), optional
        Only these pairs of a collection and a system.
    """
    results: list[Results] = []
    skipped: list[Skipped] = []
    for collection in (c for c in runner.suite.collections if not c.hidden):
        unreachable = ""
        for system in runner.suite.systems:
            if system.hidden or (
                wanted is not None and (collection.name, system.name) not in wanted
            ):
                continue
            if unreachable:
                skipped.append(Skipped(system.name, collection.name, unreachable))
                continue
            try:
                result = runner.result(collection.name, system.name)
            except ABSENT as error:
                skipped.append(Skipped(system.name, collection.name, str(error)))
                logger.info("Skipped %s on %s: %s", system.name, collection.name, error.message)
                if isinstance(error, DownloadError):
                    # Asking again for every system would wait for the network every time.
                    unreachable = str(error)
                continue
            results.append(result)
    return results, skipped
