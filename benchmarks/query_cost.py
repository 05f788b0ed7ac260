"""What a query costs the one who asks: inference-free sparse search against BM25, text in, ids out.

    python benchmarks/query_cost.py INDEX CORPUS QUERIES --work DIR [--n-queries 1000] [--k 10]

INDEX is an index folder with an inference-free query side, CORPUS the JSON lines it was made of
(``_id``, ``title``, ``text``), QUERIES JSON lines with ``text``. Everything that happens between the
text of a query and the identifiers of its best documents is timed, on one thread, query by query in
turn (`eval.latency`): for us tokenising, looking weights up, searching; for bm25s (its numba
backend) and for Lucene (called inside this process, its result left in Java) their own analysis and
search, both with English stop words and stems.

Lucene and bm25s index CORPUS into DIR once. Needs the extras ``bench`` and ``lucene``; without one
of them its rows are left out, and a line on standard error says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from timed import query_texts, report

from eval.latency import measure_interleaved
from indexing.storage import IndexFolder
from lsr.core.errors import MissingDependencyError
from lsr.core.records import Document
from lsr.encoders import load_encoder

Ask = Callable[[str], object]


def read_corpus(path: Path) -> Iterator[Document]:
    """Yield the documents of a JSON-lines file."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield Document(str(record["_id"]), record["text"], record.get("title", ""))


def ours(index: Path, k: int, values: dict[str, Any] | None) -> Callable[[str], list[str]]:
    """Return our search, with parameters of the layout."""
    folder = IndexFolder.open(index)
    if folder.query_encoder_path is None:
        raise SystemExit(f"{index} has no query side.")
    encoder = load_encoder(folder.query_encoder_path)
    model = folder.index.params_model
    params = model.model_validate(values) if model is not None and values else None

    def ask(text: str) -> list[str]:
        vector = encoder.encode_queries([text]).row(0)
        rows, _ = folder.index.search(vector, k, params=params)
        return [folder.doc_ids[row] for row in rows.tolist()]

    return ask


def bm25s_search(corpus: Path, work: Path, k: int) -> Ask:
    """Return bm25s' search."""
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingDependencyError("bm25s", extra="bench", purpose="The comparison") from error
    stemmer = Stemmer.Stemmer("english")
    folder = work / "bm25s"
    if not folder.exists():
        made = bm25s.BM25(backend="numba")
        tokens = bm25s.tokenize(
            [document.content for document in read_corpus(corpus)],
            stopwords="en", stemmer=stemmer, show_progress=False,
        )  # fmt: skip
        made.index(tokens, show_progress=False)
        made.save(str(folder))
        (work / "bm25s.ids.json").write_text(
            json.dumps([document.doc_id for document in read_corpus(corpus)])
        )
    index = bm25s.BM25.load(str(folder), mmap=False)
    index.backend = "numba"
    index.activate_numba_scorer()
    doc_ids = json.loads((work / "bm25s.ids.json").read_text())

    def ask(text: str) -> list[str]:
        tokens = bm25s.tokenize(
            text, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        rows, _ = index.retrieve(
            tokens, k=k, show_progress=False, n_threads=1, backend_selection="numba"
        )
        return [doc_ids[row] for row in rows[0].tolist()]

    return ask


def lucene_search(corpus: Path, work: Path, k: int) -> Ask:
    """Return Lucene's BM25 search."""
    from eval.lucene import LuceneSearcher, index_texts

    folder = work / "lucene"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        index_texts(read_corpus(corpus), folder)
        (folder / "done").touch()
    searcher = LuceneSearcher(folder / "index", "bm25")
    return lambda text: searcher.time(text, k)


def recall(found: list[list[str]], exact: list[list[str]]) -> float:
    """Return the mean share of the exact results that were found."""
    shares = [len(set(a) & set(b)) / len(b) for a, b in zip(found, exact, strict=True) if b]
    return float(np.mean(shares))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--n-queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    queries = query_texts(args.queries, args.n_queries, 7)
    mine, exact = ours(args.index, args.k, None), ours(args.index, args.k, {"exact": True})
    systems: dict[str, Ask] = {"lsr": mine, "lsr, exact": exact}
    for name, make in (("bm25s", bm25s_search), ("Lucene BM25", lucene_search)):
        try:
            systems[name] = make(args.corpus, args.work, args.k)
        except MissingDependencyError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    latencies = measure_interleaved(
        {name: (lambda at, ask=ask: ask(queries[at])) for name, ask in systems.items()},
        len(queries),
        n_runs=args.runs,
        n_warmup=3,
    )
    reached = recall([mine(query) for query in queries], [exact(query) for query in queries])
    load = report(latencies, n_queries=len(queries), recall=reached)
    print(
        f"{len(queries)} queries, k = {args.k}, one thread; recall of lsr against exact "
        f"{reached:.3f}; load {load:.1f}\n\n"
        "| | p50 µs | p99 µs | lsr ÷ it, p50 | lsr exact ÷ it, p50 |\n|---|---|---|---|---|"
    )
    for name, latency in latencies.items():
        ratios = [latencies[own].p50_us / latency.p50_us for own in ("lsr", "lsr, exact")]
        print(
            f"| {name} | {latency.p50_us:.0f} | {latency.p99_us:.0f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
