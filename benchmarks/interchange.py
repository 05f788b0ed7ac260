"""Other systems read our exported files: do they find what our exact search finds.

    python benchmarks/interchange.py VECTORS QUERIES [--work FOLDER] [--scale 20]

VECTORS and QUERIES are encoded collections (``lsr encode``, and ``lsr encode --queries SPLIT``).
Every format is written and read back, timed and compared; then BMP reads the CIFF file, Seismic
the JSON lines and Lucene (where pyserini is installed) the JSON impacts, and their ten best
scores are compared with those of the exact index over the same numbers.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from indexing.exact import ExactIndex
from lsr.core.console import print_table
from lsr.core.errors import LsrError
from lsr.core.sparse import SparseMatrix
from lsr.data.interchange import (
    FORMATS,
    export_vectors,
    impact_matrix,
    import_vectors,
    require_format,
    to_impacts,
)
from lsr.data.vectors import VectorCollection, open_vectors

K = 10
FILES = {"ciff": "c.ciff", "csr": "c.csr", "topics": "c.tsv", "lsr-benchmark": "doc-embeddings.npz"}
SCALED = ("anserini", "topics", "ciff")
BMP_LARGEST_QUERY_WEIGHT = 32  # BMP scales every query so that its heaviest term weighs this


def same(left: SparseMatrix, right: SparseMatrix) -> bool:
    return bool(
        np.array_equal(left.indptr, right.indptr)
        and np.array_equal(left.terms, right.terms)
        and np.array_equal(left.weights, right.weights)
    )


def formats(collection: VectorCollection, work: Path, scale: float) -> None:
    rows = []
    matrix = collection.matrix()
    for name in FORMATS:
        form = require_format(name)
        path = work / name / FILES.get(name, "c.jsonl")
        started = time.perf_counter()
        export_vectors(collection, path, form, scale=scale if name in SCALED else None)
        written = time.perf_counter() - started
        started = time.perf_counter()
        again = import_vectors(
            path, work / f"{name}.vectors", form, vocabulary=collection.vocabulary
        )
        read = time.perf_counter() - started
        expected = impact_matrix(matrix, scale) if name in SCALED else matrix
        equal = "yes" if same(again.matrix(), expected) else "NO"
        rows.append((name, path.stat().st_size / 1e6, written, read, equal))
    print_table(["format", "MB", "written s", "read s", "same again"], rows)


def agreement(
    found: list[list[float]], index: ExactIndex, queries: SparseMatrix, rtol: float
) -> str:
    expected = index.search_batch(queries, K)
    agree = sum(
        len(seen) == len(true.scores) and np.allclose(seen, true.scores, rtol=rtol, atol=0)
        for seen, true in zip(found, expected, strict=True)
    )
    return f"{agree} of {len(found)}"


def bmp_scores(work: Path, queries: SparseMatrix, tokens: list[str]) -> list[list[float]]:
    import bmp

    path = work / "bmp.index"
    bmp.ciff2bmp(
        ciff_file=str(work / "ciff" / "c.ciff"), output=str(path), bsize=16, compress_range=False
    )
    searcher = bmp.Searcher(str(path))
    found = []
    for row in queries:
        pairs = zip(row.terms.tolist(), row.weights.tolist(), strict=True)
        _, scores = searcher.search({tokens[t]: int(w) for t, w in pairs}, k=K, alpha=1.0, beta=1.0)
        found.append(list(scores))
    return found


def seismic_scores(work: Path, queries: SparseMatrix, tokens: list[str]) -> list[list[float]]:
    import seismic

    # Nothing pruned, full summaries, every block visited.
    index = seismic.SeismicIndex.build(
        str(work / "seismic" / "c.jsonl"),
        n_postings=1_000_000,
        min_cluster_size=1,
        summary_energy=1.0,
        max_fraction=100.0,
    )
    text = seismic.get_seismic_string()
    found = []
    for row in queries:
        words = np.array([tokens[t] for t in row.terms.tolist()], dtype=text)
        hits = index.search("q", words, row.weights, K, len(words), 1.0)
        found.append([score for _, score, _ in hits])
    return found


def lucene_scores(
    work: Path, collection: VectorCollection, queries: VectorCollection, scale: float
) -> list[list[float]]:
    from eval.lucene import index_impacts, search_impacts

    (work / "lucene" / "corpus").mkdir(parents=True)
    shutil.copy(work / "anserini" / "c.jsonl", work / "lucene" / "corpus" / "c.jsonl")
    export_vectors(queries, work / "lucene" / "queries.tsv", "topics", scale=scale)
    index, _ = index_impacts(work / "lucene", work / "lucene")
    run = search_impacts(index, work / "lucene", K, work / "lucene" / "search")
    by_query: dict[str, list[float]] = {}
    for line in run:
        by_query.setdefault(line.query_id, []).append(float(line.score))
    return [by_query.get(query_id, []) for query_id in queries.doc_ids()]


def readers(
    collection: VectorCollection, queries: VectorCollection, work: Path, scale: float
) -> None:
    tokens = list(collection.vocabulary.tokens)
    whole = ExactIndex.from_matrix(collection.matrix())
    coarse = ExactIndex.from_matrix(impact_matrix(collection.matrix(), scale))
    matrix = queries.matrix()
    heaviest = [
        to_impacts(row, BMP_LARGEST_QUERY_WEIGHT / float(row.weights.max()))
        for row in matrix
        if row.nnz
    ]
    for_bmp = SparseMatrix.from_rows(heaviest, matrix.size)
    for_lucene = impact_matrix(matrix, scale)
    rows = []
    try:
        rows.append(
            ("BMP", "ciff", agreement(bmp_scores(work, for_bmp, tokens), coarse, for_bmp, 0))
        )
    except ImportError as error:
        rows.append(("BMP", "ciff", f"not installed ({error})"))
    try:
        found = seismic_scores(work, matrix, tokens)
        # Seismic keeps 11 bits of every weight.
        rows.append(("Seismic", "seismic", agreement(found, whole, matrix, 2e-3)))
    except ImportError as error:
        rows.append(("Seismic", "seismic", f"not installed ({error})"))
    try:
        found = lucene_scores(work, collection, queries, scale)
        rows.append(("Lucene", "anserini, topics", agreement(found, coarse, for_lucene, 0)))
    except (ImportError, LsrError) as error:
        rows.append(("Lucene", "anserini, topics", f"not run ({error})"))
    print_table(["reader", "format", "queries with the ten best scores of our exact search"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--work", type=Path, help="keep the files here")
    parser.add_argument("--scale", type=float, default=20.0, help="impacts above 255 overflow BMP")
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="lsr-interchange-"))
    try:
        collection, queries = open_vectors(arguments.vectors), open_vectors(arguments.queries)
        formats(collection, work, arguments.scale)
        readers(collection, queries, work, arguments.scale)
    finally:
        if arguments.work is None:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
