"""Search parameters for a recall, measured: which are the fastest that reach it on this index.

Half of the queries choose the parameters, the other half measure what they reach; only the
latter's figures are stored and quoted. They stand beside the index, in ``tuning.json``, with the
machine they were measured on; ``IndexFolder.search(target_recall=0.95)`` uses them.

A live collection is tuned at one generation (`indexing.collection_tuning`). As long as it has about
as many documents as then the figures are taken to hold; afterwards it has to be tuned again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexing.base import BatchResult, check_k, check_query
from indexing.recall import recall_of
from lsr.core.artifact import write_text_atomic
from lsr.core.config import Config
from lsr.core.console import track
from lsr.core.errors import ArgumentError, ArtifactCorruptedError, CheckFailedError
from lsr.core.manifest import Machine, describe_machine
from lsr.core.sparse import SparseMatrix, SparseVector

__all__ = [
    "TUNING_NAME",
    "Point",
    "Tunable",
    "Tuning",
    "TuningOptions",
    "load_queries",
    "load_tuning",
    "save_tuning",
    "tune",
]

TUNING_NAME = "tuning.json"
TUNING_FORMAT = 1
MIN_QUERIES = 20

logger = logging.getLogger(__name__)

# What is tried: every combination. Small to large in each, the rest of the parameters by default.
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "seismic": {
        "query_cut": (3, 4, 5, 6, 8, 10, 12, 16, 24),
        "heap_factor": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0),
    },
    "clustered": {
        "query_mass": (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        "max_blocks": (40, 65, 80, 100, 130, 160, 220, 300, 450, 700, 1200),
        "heap_factor": (0.0, 0.9),
    },
    # With a first level of wide blocks, which has a depth of its own.
    "clustered, wide": {
        "query_mass": (0.6, 0.7, 0.8, 0.9),
        "max_blocks": (60, 100, 160, 300, 700),
        "max_wide_blocks": (150, 250, 400, 700, 1500),
    },
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(_Frozen):
    """One setting, and what it reached.

    Attributes
    ----------
    params : dict
        Of the layout's parameter class.
    recall : float
        Mean recall@k against the index's exact mode.
    mean_us, p50_us, p99_us : float
        Time of one search on one thread, the median of three runs a query.
    n_documents : int or None
        Of a live collection when it was measured.
    """

    params: dict[str, Any]
    recall: float
    mean_us: float
    p50_us: float
    p99_us: float
    n_documents: int | None = None


class Tuning(_Frozen):
    """The content of ``tuning.json``.

    Attributes
    ----------
    layout : str
    k : int
        Depth of the recall.
    targets : dict of str to Point
        By recall target (``"0.95"``): the chosen setting, measured on the held-out queries.
    curve : list of Point
        The settings that no other beats in both recall and time, on the queries that chose.
    n_queries, n_held_out : int
    """

    format_version: int = TUNING_FORMAT
    layout: str
    k: int
    created: str
    machine: Machine
    n_queries: int
    n_held_out: int
    targets: dict[str, Point] = Field(default_factory=dict)
    curve: list[Point] = Field(default_factory=list)

    def for_recall(self, target: float) -> Point:
        """Return the fastest tuned setting whose target is at least `target`.

        Raises
        ------
        ArgumentError
            If no tuned target is that high.
        """
        enough = [p for t, p in self.targets.items() if float(t) >= target - 1e-9]
        if not enough:
            known = ", ".join(sorted(self.targets)) or "none"
            raise ArgumentError(
                f"The index is not tuned for a recall of {target} (tuned: {known}).",
                hint=f"Run: lsr index tune INDEX --queries VECTORS --recall {target}",
            )
        return min(enough, key=lambda p: p.mean_us)


class Tunable(Protocol):
    """What can be tuned; every `SparseIndex` of a layout with parameters is."""

    @property
    def kind(self) -> str:
        """The layout."""

    @property
    def params_model(self) -> type[Config] | None:
        """Its search parameters."""

    @property
    def vocabulary_size(self) -> int:
        """Number of columns of the vectors."""

    def search(self, query: SparseVector, k: int = 10, *, params: Any | None = None) -> object:
        """Search for one query."""

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: Any | None = None,
        n_threads: int | None = None,
    ) -> BatchResult:
        """Return the best `k` rows of every query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """What a tuning is to reach, and how it is measured.

    Attributes
    ----------
    recall : float
        In (0, 1].
    k : int
        Depth of the recall.
    p99_ms : float, optional
        The setting's 99th percentile must not be above this.
    seed : int
        Which half of the queries is held out.
    n_threads : int, optional
        For exact search and recall; times are always taken on one thread.
    on_setting : callable, optional
        Told how many settings are measured, of how many; a progress bar otherwise. What it raises
        ends the tuning.

    Raises
    ------
    ArgumentError
        If `recall` or `k` breaks its rule.
    """

    recall: float
    k: int = 10
    p99_ms: float | None = None
    seed: int = 42
    n_threads: int | None = None
    on_setting: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        check_k(self.k)
        if not 0 < self.recall <= 1:
            raise ArgumentError(f"recall must be above 0 and at most 1, got {self.recall!r}.")


def tune(index: Tunable, queries: SparseMatrix, options: TuningOptions) -> Tuning:
    """Return the fastest setting that reaches a recall, measured on held-out queries.

    Parameters
    ----------
    index : Tunable
        Of a layout with search parameters.
    queries : SparseMatrix
        At least `MIN_QUERIES`, like those that will be asked.
    options : TuningOptions

    Raises
    ------
    ArgumentError
        If the layout has nothing to tune, or there are too few queries.
    CheckFailedError
        If no setting reaches the recall in the time, or the chosen one misses it on the held-out
        queries; with what was reached.
    """
    model = _params_model(index)
    check_query(queries, index.vocabulary_size)
    if queries.n_rows < MIN_QUERIES:
        raise ArgumentError(f"Tuning needs at least {MIN_QUERIES} queries, got {queries.n_rows}.")
    k, n_threads = options.k, options.n_threads
    order = np.random.default_rng(options.seed).permutation(queries.n_rows)
    choosing = queries.take(order[: queries.n_rows // 2])
    held_out = queries.take(order[queries.n_rows // 2 :])
    curve = _front(list(_measure_grid(index, model, choosing, options)))
    exact = index.search_batch(
        held_out, k, params=model.model_validate({"exact": True}), n_threads=n_threads
    )
    tried: list[Point] = []
    # The cheapest setting that seems good enough may miss on other queries: then the next one.
    for candidate in curve:
        if candidate.recall < options.recall:
            continue
        params = model(**candidate.params)
        found = index.search_batch(held_out, k, params=params, n_threads=n_threads)
        reached = float(np.nanmean(recall_of(found, exact)))
        point = _point(params, reached, _times(index, held_out, k, params, n_runs=3))
        tried.append(point)
        in_time = options.p99_ms is None or point.p99_us <= 1000 * options.p99_ms
        if reached >= options.recall and in_time:
            return Tuning(
                layout=index.kind,
                k=k,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                machine=describe_machine(),
                n_queries=choosing.n_rows,
                n_held_out=held_out.n_rows,
                targets={str(options.recall): point},
                curve=curve,
            )
    raise CheckFailedError(_failure(options, tried, curve), hint=_HINT)


_HINT = (
    "Accept a lower recall or more time, or build the index with parameters that push recall "
    "(lsr index build --help)."
)


def _failure(options: TuningOptions, tried: list[Point], curve: list[Point]) -> str:
    wanted = f"recall {options.recall}"
    if options.p99_ms is not None:
        wanted += f" and p99 {options.p99_ms} ms"
    if not tried:
        best = max(curve, key=lambda p: p.recall)
        return f"No setting reaches {wanted}; the best has recall {best.recall:.4f}."
    best = max(tried, key=lambda p: p.recall)
    fastest = min(tried, key=lambda p: p.p99_us)
    return (
        f"No setting reaches {wanted} on held-out queries: the best has recall "
        f"{best.recall:.4f} (p99 {best.p99_us / 1000:.3f} ms), the fastest "
        f"{fastest.recall:.4f} (p99 {fastest.p99_us / 1000:.3f} ms)."
    )


def _params_model(index: Tunable) -> type[Config]:
    model = index.params_model
    if model is None or index.kind not in GRIDS:
        raise ArgumentError(
            f"An index of layout {index.kind!r} has nothing to tune.",
            hint="Tune an approximate layout: clustered, seismic.",
        )
    return model


def _measure_grid(
    index: Tunable, model: type[Config], queries: SparseMatrix, options: TuningOptions
) -> Iterator[Point]:
    k, n_threads, on_setting = options.k, options.n_threads, options.on_setting
    exact = index.search_batch(
        queries, k, params=model.model_validate({"exact": True}), n_threads=n_threads
    )
    wide = getattr(index, "wide_rows", 0)
    grid = GRIDS[f"{index.kind}, wide" if wide else index.kind]
    settings = [model(**dict(zip(grid, values, strict=True))) for values in product(*grid.values())]
    shown = track(settings, "settings", len(settings)) if on_setting is None else settings
    for at, params in enumerate(shown):
        if on_setting is not None:
            on_setting(at, len(settings))
        found = index.search_batch(queries, k, params=params, n_threads=n_threads)
        reached = float(np.nanmean(recall_of(found, exact)))
        yield _point(params, reached, _times(index, queries, k, params, n_runs=1))


def _point(params: Config, recall: float, times_us: NDArray[np.float64]) -> Point:
    p50, p99 = np.percentile(times_us, [50, 99]).tolist()
    return Point(
        params=params.model_dump(),
        recall=recall,
        mean_us=float(times_us.mean()),
        p50_us=p50,
        p99_us=p99,
    )


def _times(
    index: Tunable, queries: SparseMatrix, k: int, params: Config, *, n_runs: int
) -> NDArray[np.float64]:
    """Return the time of each query in microseconds, one at a time: the median of its runs."""
    rows = list(queries)
    times = np.empty((n_runs, len(rows)))
    for run in range(n_runs):
        for at, query in enumerate(rows):
            started = time.perf_counter_ns()
            index.search(query, k, params=params)
            times[run, at] = (time.perf_counter_ns() - started) / 1000
    medians: NDArray[np.float64] = np.median(times, axis=0)
    return medians


def _front(points: list[Point]) -> list[Point]:
    """Return the points that no other beats, by time ascending (so by recall ascending)."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.mean_us, -p.recall)):
        if not front or point.recall > front[-1].recall:
            front.append(point)
    return front


def load_queries(path: Path, fingerprint: str) -> SparseMatrix:
    """Return encoded queries from disk.

    Parameters
    ----------
    path : Path
        What ``lsr encode DATASET --queries SPLIT`` wrote.
    fingerprint : str
        Of the index's vocabulary.

    Raises
    ------
    ArtifactError
        If there are no vectors at `path`, or they are damaged.
    VocabularyMismatchError
        If they were made with another vocabulary.
    """
    from lsr.data.vectors import open_vectors

    vectors = open_vectors(path)
    vectors.vocabulary.require_same(fingerprint, mine=f"The query set {path}", theirs="the index")
    return vectors.matrix()


def load_tuning(folder: Path, *, layout: str) -> Tuning | None:
    """Return the tuning beside an index, or None where there is none.

    Raises
    ------
    ArtifactCorruptedError
        If the file cannot be read, or is of another layout or format.
    """
    file = Path(folder) / TUNING_NAME
    try:
        tuning = Tuning.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArtifactCorruptedError(
            f"{file} is no tuning this release reads: {error.errors()[0]['msg']}.",
            hint="Delete it and run lsr index tune again.",
        ) from error
    if tuning.format_version != TUNING_FORMAT or tuning.layout != layout:
        raise ArtifactCorruptedError(
            f"{file} is of format {tuning.format_version} for layout {tuning.layout!r}; expected "
            f"{TUNING_FORMAT} for {layout!r}.",
            hint="Delete it and run lsr index tune again.",
        )
    return tuning


def save_tuning(folder: Path, tuning: Tuning) -> Tuning:
    """Write a tuning beside its index and return it, with the targets tuned before at the same k.

    The file is replaced atomically; the index's manifest does not list it.
    """
    before = load_tuning(folder, layout=tuning.layout)
    if before is not None and before.k == tuning.k:
        tuning = tuning.model_copy(update={"targets": {**before.targets, **tuning.targets}})
    write_text_atomic(Path(folder) / TUNING_NAME, tuning.model_dump_json(indent=1) + "\n")
    return tuning
