"""An encoder and an index over a collection, scored: in one process, without files between.

`evaluate` encodes a collection and searches it exactly; `evaluate_target` takes an index that is
there already; `evaluate_run` scores results that any system wrote. All three end in the same
`Results`. What is counted: the judged queries of the split, all of them; one that the system did
not answer counts 0.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import Field

from eval.latency import TIMED_ENCODINGS, measure_latency, measure_throughput, spread
from eval.measures import (
    depth_of,
    measures_for,
    parse_measures,
    score_queries,
    summarise,
)
from eval.memory import peak_memory
from eval.recall import mean_recall, recall_at_k
from eval.results import RESULTS_FORMAT, Efficiency, Results, Truncation
from eval.runs import RunTable
from eval.sparsity import measure_sparsity
from eval.topics import Topics, load_topics
from eval.truncation import truncation_of
from indexing.base import MAX_K, SparseIndex
from lsr.core.config import Config, config_hash
from lsr.core.errors import DataError, EncoderError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix, vstack
from lsr.data.base import Dataset
from lsr.data.interchange import impact_matrix
from lsr.encoders.base import Encoder, QueryEncoder

__all__ = [
    "EvalConfig",
    "SearchTarget",
    "drops_self",
    "encode_target",
    "evaluate",
    "evaluate_run",
    "evaluate_target",
    "measure_efficiency",
    "search_run",
]

logger = logging.getLogger(__name__)

_WINDOW = 2048
"""Documents encoded at a time: enough for sorting by length to pay."""


class EvalConfig(Config):
    """What decides the figures of one evaluation.

    Attributes
    ----------
    split : str
        Which queries and judgements.
    measures : tuple of str
        In the ir-measures grammar; empty: what the collection is usually reported with.
    k : int
        Depth of the search. Lower: faster; a measure with a deeper cutoff then sees less.
    drop_self : bool or None
        Drop results whose document id is the query id; None: for ArguAna only, whose queries are
        documents of its corpus.
    timing : bool
        Measure latency, throughput and memory too.
    timed_k, timed_queries, n_runs, n_warmup : int
        Depth of timed searches, how many queries at most (evenly spaced), and passes.
    """

    split: str = "test"
    measures: tuple[str, ...] = ()
    k: int = Field(default=1000, ge=1, le=MAX_K)
    drop_self: bool | None = None
    timing: bool = False
    timed_k: int = Field(default=10, ge=1, le=MAX_K)
    timed_queries: int = Field(default=1000, ge=1)
    n_runs: int = Field(default=5, ge=1)
    n_warmup: int = Field(default=1, ge=0)


@dataclass(frozen=True)
class SearchTarget:
    """An index that can be searched with text.

    Attributes
    ----------
    system : str
        How the results call it.
    doc_ids : sequence of str
        Names of the index's rows.
    params : optional
        The index's own search parameters.
    vectors : callable, optional
        Yields the document vectors in parts, for sparsity.
    known : Efficiency
        What is known before searching: bytes, build time, encoding rate.
    impact_scale : float, optional
        Queries are multiplied by it and rounded, as the index's documents were.
    """

    system: str
    index: SparseIndex
    doc_ids: Sequence[str]
    encoder: QueryEncoder
    params: Any | None = None
    vectors: Callable[[], Iterable[SparseMatrix]] | None = None
    known: Efficiency = field(default_factory=Efficiency)
    impact_scale: float | None = None

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the query vectors as the index is searched with them."""
        vectors = self.encoder.encode_queries(texts, batch_size=batch_size)
        return vectors if self.impact_scale is None else impact_matrix(vectors, self.impact_scale)


def evaluate(
    encoder: Encoder,
    dataset: Dataset,
    config: EvalConfig | None = None,
    *,
    batch_size: int = 32,
    n_threads: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Results:
    """Encode a collection in memory, search it exactly, and score the results.

    Parameters
    ----------
    encoder : Encoder
        Both sides.
    dataset : Dataset
        The collection.
    config : EvalConfig, optional
        Split, measures, depth, timing.
    batch_size, n_threads : int
        Change speed, never results.
    advance : callable, optional
        Called with the number of documents encoded, for a progress bar.

    Raises
    ------
    DataError
        If the collection has no documents, or its queries and judgements do not fit.
    EncoderError
        If the encoder has a query side only.
    """
    config = config or EvalConfig()
    topics = load_topics(dataset, config.split)
    target = encode_target(
        encoder, dataset, batch_size=batch_size, n_threads=n_threads, advance=advance
    )
    results, _ = evaluate_target(target, topics, config, batch_size=batch_size, n_threads=n_threads)
    return results


def encode_target(
    encoder: Encoder | QueryEncoder,
    dataset: Dataset,
    *,
    system: str | None = None,
    batch_size: int = 32,
    n_threads: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> SearchTarget:
    """Return an exact index, in memory, of a collection encoded now."""
    from indexing.exact import ExactIndex

    if not isinstance(encoder, Encoder):
        raise EncoderError(
            f"The encoder {encoder.name!r} has a query side only; it cannot encode documents.",
            hint="Pass the folder of the whole encoder, or an index that is built already.",
        )
    doc_ids: list[str] = []
    parts: list[SparseMatrix] = []
    seconds = 0.0
    documents = iter(dataset.documents())
    while window := list(islice(documents, _WINDOW)):
        started = time.perf_counter()
        parts.append(encoder.encode_documents([d.content for d in window], batch_size=batch_size))
        seconds += time.perf_counter() - started
        doc_ids += [d.doc_id for d in window]
        if advance is not None:
            advance(len(window))
    if not doc_ids:
        raise DataError(f"{dataset.name} has no documents.")
    matrix = vstack(parts, len(encoder.vocabulary))
    del parts
    started = time.perf_counter()
    index = ExactIndex.from_matrix(matrix, n_threads=n_threads)
    known = Efficiency(
        index_bytes=index.bytes_by_part(),
        build_s=time.perf_counter() - started,
        encode_documents_per_s=len(doc_ids) / max(seconds, 1e-9),
    )
    system = system or f"{encoder.name} · exact"
    return SearchTarget(system, index, doc_ids, encoder, vectors=lambda: [matrix], known=known)


def evaluate_target(
    target: SearchTarget,
    topics: Topics,
    config: EvalConfig,
    *,
    batch_size: int = 32,
    n_threads: int | None = None,
    command: str = "",
) -> tuple[Results, RunTable]:
    """Search an index with the judged queries and score the results; return the run too.

    Recall@10 is measured against the layout's own exact mode, if it has one; a suite measures it
    against an exact index of the same vectors.
    """
    run, queries = search_run(target, topics, config.k, batch_size=batch_size, n_threads=n_threads)
    efficiency = target.known
    if target.vectors is not None:
        efficiency = _with(efficiency, sparsity=measure_sparsity(target.vectors(), queries))
    efficiency = _with(efficiency, recall_at_10=_own_recall(target, queries, n_threads))
    if config.timing:
        efficiency = measure_efficiency(
            target, topics, queries, config, known=efficiency, n_threads=n_threads
        )
    results = evaluate_run(
        run,
        topics,
        config,
        system=target.system,
        efficiency=efficiency,
        truncation=truncation_of(target.encoder),
        command=command,
    )
    return results, run


def search_run(
    target: SearchTarget,
    topics: Topics,
    k: int,
    *,
    batch_size: int = 32,
    n_threads: int | None = None,
) -> tuple[RunTable, SparseMatrix]:
    """Return the run of the judged queries, and their vectors.

    Raises
    ------
    VocabularyMismatchError
        If encoder and index do not belong together.
    """
    queries = target.encode_queries(topics.texts, batch_size=batch_size)
    # Ids are looked up per result; a memory-mapped table would decode each one anew.
    doc_ids = list(target.doc_ids)
    found = target.index.search_batch(queries, k, params=target.params, n_threads=n_threads)
    return RunTable.from_batch(topics.query_ids, doc_ids, found), queries


def measure_efficiency(
    target: SearchTarget,
    topics: Topics,
    queries: SparseMatrix,
    config: EvalConfig,
    *,
    known: Efficiency,
    n_threads: int | None = None,
) -> Efficiency:
    """Return `known` with latency, throughput and memory, measured now (`eval.latency`)."""
    from indexing.threads import resolve_threads

    chosen = spread(range(len(topics.texts)), config.timed_queries)
    vectors = [queries.row(at) for at in chosen]
    asked = spread(topics.texts, TIMED_ENCODINGS)
    index, params, k = target.index, target.params, config.timed_k
    threads = resolve_threads(n_threads)
    batch = queries.take(chosen)
    with peak_memory() as peak:
        index.search_batch(batch, k, params=params, n_threads=threads)
    passes = {"n_runs": config.n_runs, "n_warmup": config.n_warmup}
    return _with(
        known,
        peak_memory=peak.value,
        search=measure_latency(
            lambda i: index.search(vectors[i], k, params=params), len(chosen), **passes
        ),
        encode_query=measure_latency(
            lambda i: target.encode_queries([asked[i]]), len(asked), **passes
        ),
        throughput=measure_throughput(
            lambda: index.search_batch(batch, k, params=params, n_threads=threads),
            len(chosen),
            n_threads=threads,
        ),
    )


def evaluate_run(
    run: RunTable,
    topics: Topics,
    config: EvalConfig,
    *,
    system: str,
    efficiency: Efficiency | None = None,
    truncation: Truncation | None = None,
    command: str = "",
) -> Results:
    """Score a run against the judgements of a split.

    Parameters
    ----------
    run : RunTable
        Results of any system.
    topics : Topics
        The judged queries; every one of them counts.
    config : EvalConfig
        Measures; `k` says how deep the run was made.
    system : str
        How the results call it.
    efficiency, truncation, command
        Stored beside the scores.

    Raises
    ------
    ArgumentError
        If a measure is unknown.
    DataError
        If the run answers none of the judged queries.
    """
    names = config.measures or measures_for(topics.dataset, topics.split)
    measures = parse_measures(names)
    notes: list[str] = []
    if drops_self(topics.dataset, config):
        before = run.n_results
        run = run.without_self_matches()
        notes.append(f"{before - run.n_results} self-matches dropped")
    answered = sum(len(run.results(query_id)[0]) > 0 for query_id in topics.qrels)
    if run.n_results and not answered:
        raise DataError(
            f"The run answers none of the {len(topics.qrels)} judged queries of "
            f"{topics.dataset}/{topics.split}.",
            hint="Run and judgements do not belong together: compare their query ids.",
        )
    deepest = depth_of(measures)
    if deepest is not None and deepest > config.k:
        notes.append(f"the run is {config.k} deep; cutoffs beyond see no more")
    if answered < len(topics.qrels):
        notes.append(f"{len(topics.qrels) - answered} judged queries have no result and count 0")
    per_query = score_queries(run, topics.qrels, measures)
    manifest = Manifest.new(
        "results",
        RESULTS_FORMAT,
        config=config.model_dump(mode="json"),
        config_hash=config_hash(config),
    )
    return Results(
        system=system,
        dataset=topics.dataset,
        split=topics.split,
        measures=summarise(per_query, measures),
        n_queries=len(topics.qrels),
        n_unanswered=len(topics.qrels) - answered,
        k=config.k,
        per_query=per_query,
        efficiency=efficiency or Efficiency(),
        truncation=truncation or Truncation(),
        notes=tuple(notes),
        command=command,
        manifest=manifest,
    )


def _own_recall(target: SearchTarget, queries: SparseMatrix, n_threads: int | None) -> float | None:
    """Return recall@10 against the layout's own exact mode; None where it has none."""
    model = target.index.params_model
    if model is None:
        return 1.0
    if "exact" not in model.model_fields:
        return None
    truth = target.index.search_batch(
        queries, 100, params=model.model_validate({"exact": True}), n_threads=n_threads
    )
    found = target.index.search_batch(queries, 10, params=target.params, n_threads=n_threads)
    return mean_recall(recall_at_k(found, truth, 10))


def _with(known: Efficiency, **found: Any) -> Efficiency:
    return known.model_copy(update=found)


def drops_self(dataset: str, config: EvalConfig) -> bool:
    """Return whether results with the query's own id are dropped on a collection."""
    return "arguana" in dataset.lower() if config.drop_self is None else config.drop_self
