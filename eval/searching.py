"""How a sparse or dense system searches a collection, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from eval.cache import Ran
from eval.evaluate import measure_efficiency, search_run
from eval.latency import TIMED_ENCODINGS, measure_latency, measure_throughput, spread
from eval.memory import peak_memory
from eval.recall import mean_recall, recall_at_k
from eval.results import Efficiency, Truncation
from eval.runs import RunTable
from eval.search_params import parse_params
from eval.sparsity import measure_sparsity
from eval.systems import DenseSystem, SparseSystem
from eval.truncation import truncation_of
from eval.workbench import Workbench, resolve_model
from indexing.base import SparseIndex
from indexing.dense import DenseIndex
from indexing.dense_encoder import DenseEncoder
from indexing.threads import resolve_threads
from lsr.core import console
from lsr.core.errors import EncoderError
from lsr.core.manifest import describe_machine
from lsr.core.records import ScoredDoc
from lsr.core.sparse import SparseMatrix, vstack
from lsr.data.interchange import impact_matrix
from lsr.encoders import Encoder, load_encoder, prepare_encoder

__all__ = ["rerank", "search_dense", "search_sparse"]

_RECALL_K = 10
_WINDOW = 1024


def search_sparse(bench: Workbench, system: SparseSystem) -> Ran:
    """Return the run of a sparse encoder and one of this system's indexes."""
    target = bench.sparse_target(system)
    target = replace(target, params=parse_params(target.index.kind, system.params))
    options = bench.options
    run, queries = search_run(
        target,
        bench.topics,
        bench.collection.k,
        batch_size=options.batch_size,
        n_threads=options.n_threads,
    )
    vectors = bench.vectors(system.encoder)
    efficiency = target.known.model_copy(
        update={
            "sparsity": measure_sparsity(vectors.shards(), queries),
            "recall_at_10": _recall(bench, system, target.index, target.params, queries),
        }
    )
    if options.timing:
        efficiency = measure_efficiency(
            target,
            bench.topics,
            queries,
            bench.config,
            known=efficiency,
            n_threads=options.n_threads,
        )
    made = vectors.manifest.machine.processor
    elsewhere = (
        ()
        if made == describe_machine().processor
        else (f"documents encoded on another machine ({made})",)
    )
    return Ran(run, efficiency, truncation_of(target.encoder, vectors), elsewhere)


def search_dense(bench: Workbench, system: DenseSystem) -> Ran:
    """Return the run of a bi-encoder and faiss."""
    documents, queries, rate = bench.embeddings(system.encoder)
    started = time.perf_counter()
    index = DenseIndex(
        documents,
        kind=system.index,
        m=system.m,
        ef_construction=system.ef_construction,
        ef_search=system.ef_search,
    )
    build_s = time.perf_counter() - started
    threads = resolve_threads(bench.options.n_threads)
    found = index.search_batch(queries, bench.collection.k, n_threads=threads)
    recall = 1.0
    if system.index != "flat":
        truth = DenseIndex(documents).search_batch(queries, 10 * _RECALL_K, n_threads=threads)
        shallow = index.search_batch(queries, _RECALL_K, n_threads=threads)
        recall = mean_recall(recall_at_k(shallow, truth, min(_RECALL_K, index.n_documents)))
    efficiency = Efficiency(
        index_bytes=index.bytes_by_part(),
        build_s=build_s,
        encode_documents_per_s=rate,
        recall_at_10=recall,
    )
    model = bench.dense_encoder(system.encoder)
    if bench.options.timing:
        config, asked = bench.config, spread(bench.topics.texts, TIMED_ENCODINGS)
        n = min(len(queries), config.timed_queries)
        passes = {"n_runs": config.n_runs, "n_warmup": config.n_warmup}
        with peak_memory() as peak:
            index.search_batch(queries[:n], config.timed_k, n_threads=threads)
        efficiency = efficiency.model_copy(
            update={
                "peak_memory": peak.value,
                "search": measure_latency(
                    lambda i: index.search(queries[i], config.timed_k), n, **passes
                ),
                "encode_query": measure_latency(
                    lambda i: model.encode([asked[i]]), len(asked), **passes
                ),
                "throughput": measure_throughput(
                    lambda: index.search_batch(queries[:n], config.timed_k, n_threads=threads),
                    n,
                    n_threads=threads,
                ),
            }
        )
    return Ran(
        RunTable.from_batch(bench.topics.query_ids, bench.doc_ids, found),
        efficiency,
        _dense_cut(model),
    )


def rerank(bench: Workbench, first: RunTable, by: SparseSystem | DenseSystem) -> Ran:
    """Return the results of `first`, ordered by the scores of another system.

    Only the documents of `first` are encoded, so a first stage over millions of documents is no
    more work than one over thousands (the lexical encoder is the exception: it is fitted on the
    whole collection); where the collection is encoded already, nothing is. A document that the
    collection lacks cannot be scored and is left out; the notes count them.
    """
    listed = {query_id: first.results(query_id)[0] for query_id in bench.topics.query_ids}
    wanted = {doc_id for docs in listed.values() for doc_id in docs}
    scored = _scored_before(bench, by, wanted) or _scored_now(bench, by, wanted)
    lines: list[ScoredDoc] = []
    n_missing = 0
    for at, (query_id, docs) in enumerate(listed.items()):
        there = [doc_id for doc_id in docs if doc_id in scored.rows]
        n_missing += len(docs) - len(there)
        chosen = np.array([scored.rows[doc_id] for doc_id in there], dtype=np.int64)
        scores = scored.documents[chosen] @ scored.queries[[at]].T
        scores = np.asarray(scores.toarray() if hasattr(scores, "toarray") else scores)
        lines += [
            ScoredDoc(query_id, doc_id, score)
            for doc_id, score in zip(there, scores.reshape(-1).tolist(), strict=True)
        ]
    lost = (f"{n_missing} results of the first run are not in the collection",)
    return Ran(
        RunTable.from_scored(lines),
        truncation=scored.truncation,
        notes=lost if n_missing else (),
    )


class _Scored(NamedTuple):
    """Documents and queries as rows whose products are scores; `rows` by document id."""

    rows: dict[str, int]
    documents: Any
    queries: Any
    truncation: Truncation


def _scored_before(
    bench: Workbench, by: SparseSystem | DenseSystem, wanted: Collection[str]
) -> _Scored | None:
    """Return the rows of a collection that the cache holds encoded, else None."""
    if not bench.is_encoded(by):
        return None
    rows = {doc_id: row for row, doc_id in enumerate(bench.doc_ids) if doc_id in wanted}
    if isinstance(by, DenseSystem):
        documents, asked, _ = bench.embeddings(by.encoder)
        return _Scored(rows, documents, asked, _dense_cut(bench.dense_encoder(by.encoder)))
    vectors = bench.vectors(by.encoder)
    encoder = load_encoder(str(vectors.query_encoder_path))
    queries = encoder.encode_queries(bench.topics.texts, batch_size=bench.options.batch_size)
    return _sparse_rows(rows, vectors.matrix(), queries, by, truncation_of(encoder, vectors))


def _scored_now(
    bench: Workbench, by: SparseSystem | DenseSystem, wanted: Collection[str]
) -> _Scored:
    texts = bench.texts(wanted)
    rows = {doc_id: row for row, doc_id in enumerate(texts)}
    size = bench.options.batch_size
    label = f"Encoding {len(texts):,} documents of {bench.collection.name} for {by.name}"
    if isinstance(by, DenseSystem):
        model = bench.dense_encoder(by.encoder)
        with console.progress_bar(label, len(texts), unit="documents") as advance:
            vectors = model.encode(list(texts.values()), batch_size=size, advance=advance)
        asked = model.encode(bench.topics.texts, batch_size=size)
        return _Scored(rows, vectors, asked, _dense_cut(model))
    spec = resolve_model(by.encoder, bench.options.models)
    encoder = prepare_encoder(spec, lambda: (d.content for d in bench.dataset.documents()))
    if not isinstance(encoder, Encoder):
        raise EncoderError(f"{by.encoder!r} has a query side only; re-ranking encodes documents.")
    parts = []
    with console.progress_bar(label, len(texts), unit="documents") as advance:
        contents = iter(texts.values())
        while window := list(islice(contents, _WINDOW)):
            parts.append(encoder.encode_documents(window, batch_size=size))
            advance(len(window))
    documents = vstack(parts, len(encoder.vocabulary))
    queries = encoder.encode_queries(bench.topics.texts, batch_size=size)
    return _sparse_rows(rows, documents, queries, by, truncation_of(encoder))


def _sparse_rows(
    rows: dict[str, int],
    documents: SparseMatrix,
    queries: SparseMatrix,
    by: SparseSystem,
    truncation: Truncation,
) -> _Scored:
    if by.impact_scale is not None:
        documents, queries = (impact_matrix(m, by.impact_scale) for m in (documents, queries))
    return _Scored(rows, documents.to_scipy(), queries.to_scipy(), truncation)


def _dense_cut(model: DenseEncoder) -> Truncation:
    return Truncation(query_tokens=model.max_tokens, document_tokens=model.max_tokens)


def _recall(
    bench: Workbench,
    system: SparseSystem,
    index: SparseIndex,
    params: Any,
    queries: SparseMatrix,
) -> float:
    if system.index.layout.kind == "exact":
        return 1.0
    threads = bench.options.n_threads
    exact = bench.sparse_target(SparseSystem(name="exact", encoder=system.encoder)).index
    truth = exact.search_batch(queries, 10 * _RECALL_K, n_threads=threads)
    found = index.search_batch(queries, _RECALL_K, params=params, n_threads=threads)
    return mean_recall(recall_at_k(found, truth, _RECALL_K))
