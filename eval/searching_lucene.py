"""How a Lucene system searches a collection; its index is an entry of the cache."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval import lucene
from eval.cache import Ran, content_hash
from eval.latency import measure_latency, measure_throughput
from eval.results import Efficiency
from eval.sparsity import measure_sparsity
from eval.systems import LuceneBm25System, LuceneImpactSystem
from eval.truncation import truncation_of
from eval.workbench import Workbench
from indexing.threads import resolve_threads
from lsr.data.interchange import impact_matrix
from lsr.data.interchange.anserini import write_anserini, write_topics
from lsr.data.vector_jsonl import iter_rows
from lsr.encoders import load_encoder

__all__ = ["search_lucene_bm25", "search_lucene_impacts"]

_WARM_UP = 10
"""Passes over the queries: the virtual machine compiles what is hot."""


def search_lucene_bm25(bench: Workbench, system: LuceneBm25System) -> Ran:
    """Return Lucene's BM25 run."""
    threads = resolve_threads(bench.options.n_threads)
    work = bench.cache.folder("lucene", content_hash({"bm25": bench.documents_hash}))
    if not (work / "done").is_file():
        shutil.rmtree(work, ignore_errors=True)
        documents = bench.dataset.documents()
        _finish(work, lucene.index_texts(documents, work, n_threads=threads)[1])
    index = work / "index"
    run = lucene.search_texts(
        index,
        bench.topics,
        bench.collection.k,
        work / "search",
        k1=system.k1,
        b=system.b,
        n_threads=threads,
    )
    known = Efficiency(index_bytes={"lucene": lucene.folder_bytes(index)}, build_s=_seconds(work))
    if bench.options.timing:
        searcher = lucene.LuceneSearcher(index, "bm25", k1=system.k1, b=system.b)
        known = _timed(bench, searcher, bench.topics.texts, known)
    return Ran(run, known, notes=("Lucene's time includes the analysis of the query's text",))


def search_lucene_impacts(bench: Workbench, system: LuceneImpactSystem) -> Ran:
    """Return the run of a sparse encoder's quantised vectors in Lucene."""
    threads = resolve_threads(bench.options.n_threads)
    vectors = bench.vectors(system.encoder)
    encoder = load_encoder(str(vectors.query_encoder_path))
    queries = encoder.encode_queries(bench.topics.texts, batch_size=bench.options.batch_size)
    scale, query_scale = system.scale, system.query_scale
    key = content_hash(
        {
            "vectors": vectors.path.name,
            "queries": bench.queries_hash,
            "scales": [scale, query_scale],
        }
    )
    work = bench.cache.folder("lucene", key)
    tokens = vectors.vocabulary.tokens
    topics = work / "queries.tsv"
    if not (work / "done").is_file():
        shutil.rmtree(work, ignore_errors=True)
        (work / "corpus").mkdir(parents=True)
        write_anserini(iter_rows(vectors), tokens, work / "corpus" / "documents.jsonl", scale=scale)
        rows = zip(bench.topics.query_ids, queries, strict=True)
        write_topics(rows, tokens, topics, scale=query_scale)
        _finish(work, lucene.index_impacts(work / "corpus", work, n_threads=threads)[1])
    index = work / "index"
    run = lucene.search_impacts(
        index, topics, bench.collection.k, work / "search", n_threads=threads
    )
    known = Efficiency(
        index_bytes={"lucene": lucene.folder_bytes(index)},
        build_s=_seconds(work),
        sparsity=measure_sparsity(vectors.shards(), queries),
    )
    if bench.options.timing:
        searcher = lucene.LuceneSearcher(index, "impact")
        prepared = []
        for impacts in impact_matrix(queries, query_scale):
            pairs = zip(impacts.terms.tolist(), impacts.weights.tolist(), strict=True)
            prepared.append(searcher.prepare({tokens[t]: int(weight) for t, weight in pairs}))
        known = _timed(bench, searcher, prepared, known)
    return Ran(run, known, truncation_of(encoder, vectors))


def _timed(
    bench: Workbench, searcher: lucene.LuceneSearcher, queries: Sequence[Any], known: Efficiency
) -> Efficiency:
    config = bench.config
    n = min(len(queries), config.timed_queries)
    timed = measure_latency(
        lambda i: searcher.time(queries[i], config.timed_k),
        n,
        n_runs=config.n_runs,
        n_warmup=_WARM_UP,
    )
    threads = resolve_threads(bench.options.n_threads)
    rate = measure_throughput(
        lambda: searcher.time_batch(queries[:n], config.timed_k, n_threads=threads),
        n,
        n_threads=threads,
    )
    searcher.close()
    return known.model_copy(update={"search": timed, "throughput": rate})


def _finish(work: Path, seconds: float) -> None:
    # Written last: a folder without it is what an interrupted run left.
    (work / "done").write_text(repr(seconds), encoding="ascii")


def _seconds(work: Path) -> float:
    return float((work / "done").read_text(encoding="ascii"))
