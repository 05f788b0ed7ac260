"""A synthetic encoded collection of any size with the statistics of SPLADE on MS MARCO.

A document mixes two neighbouring documents of a real encoded collection (neighbours in our
clustered order): it keeps a random share of the terms of each, with noise on the weights, so that
lengths, term frequencies and co-occurrence stay real; the mean length is 119.6 terms. A query
takes its number of terms and its weights from a real SPLADE-v3 query of MS MARCO, where the files
of ``../shared/data`` are unpacked (like statistics otherwise), stretched from their mean of 24.1
terms to the 43.8 that the literature's SPLADE queries have (``--query-terms``), and its terms from
one document and its neighbour, the heavier the likelier.

Everything follows from the seed; documents are written shard by shard, so nine million need no
more memory than a hundred thousand.

    python benchmarks/synthetic.py BASE OUT --documents 1000000 [--queries 2000]
        [--splade-queries FOLDER] [--seed 7]

BASE is an encoded collection; OUT/vectors the new one; OUT/queries.npz the queries.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np

from indexing.ordering import cluster_order, inverse_frequencies, project
from indexing.source import MatrixSource
from lsr.core.console import configure, track
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.data.vectors import open_vectors, write_vectors

MEAN_TERMS = 119.6
MEAN_QUERY_TERMS = 43.8
SHARD_ROWS = 50_000
WINDOW = 32


@numba.njit(cache=True)
def mix(indptr, terms, weights, n_rows, share, rng, window, n_terms, most):
    """Return `n_rows` documents mixed from the base rows: indptr, terms, weights."""
    n_base = len(indptr) - 1
    out_indptr = np.zeros(n_rows + 1, np.int64)
    out_terms = np.empty(n_rows * most, np.int32)
    out_weights = np.empty(n_rows * most, np.float32)
    scores = np.zeros(n_terms, np.float32)
    touched = np.empty(n_terms, np.int32)
    at = 0
    for row in range(n_rows):
        first = rng.integers(0, n_base)
        second = min(max(first + rng.integers(-window, window + 1), 0), n_base - 1)
        balance = rng.random()
        n = 0
        for source in range(2):
            base = first if source == 0 else second
            keep = share * (0.55 + 0.35 * balance if source == 0 else 0.75 - 0.45 * balance)
            damp = 1.0 if source == 0 else 0.8
            for p in range(indptr[base], indptr[base + 1]):
                if rng.random() < keep:
                    t = terms[p]
                    if scores[t] == 0:
                        touched[n] = t
                        n += 1
                    noisy = damp * weights[p] * np.exp(0.2 * rng.standard_normal())
                    scores[t] = max(scores[t], np.float32(min(noisy, 3.5)))
        chosen = np.sort(touched[:n])[:most]
        for t in chosen:
            out_terms[at] = t
            out_weights[at] = scores[t]
            at += 1
        for i in range(n):
            scores[touched[i]] = 0
        out_indptr[row + 1] = at
    return out_indptr, out_terms[:at], out_weights[:at]


def base_arrays(base: SparseMatrix) -> tuple[Any, Any, Any]:
    return base.indptr, base.terms, base.weights


def documents(
    base: SparseMatrix, n_documents: int, share: float, seed: int
) -> Iterator[tuple[SparseMatrix, list[str]]]:
    """Yield the shards of the new collection and their ids."""
    most = 2 * int(np.diff(base.indptr).max(initial=1))
    starts = range(0, n_documents, SHARD_ROWS)
    for shard, start in enumerate(track(starts, "Documents", len(starts), unit="shards")):
        n = min(SHARD_ROWS, n_documents - start)
        arrays = mix(
            *base_arrays(base),
            n,
            share,
            np.random.default_rng([seed, shard]),
            WINDOW,
            base.size,
            most,
        )
        yield SparseMatrix(*arrays, (n, base.size)), [f"s{start + i}" for i in range(n)]


def query_weights(folder: Path | None, rng: np.random.Generator, n: int, mean: float) -> list[Any]:
    """Return the descending weights of `n` queries, from real ones where the files are there."""
    file = (folder or Path()) / "topics.msmarco-passage.dev-subset.splade-v3.tsv.gz"
    if folder is None or not file.is_file():
        sizes = np.maximum(3, rng.normal(mean, mean / 3, n)).astype(int)
        return [np.sort(rng.lognormal(-1.2, 0.9, size))[::-1] for size in sizes]
    csv.field_size_limit(2**31 - 1)
    profiles = []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            counts = Counter(line.rstrip("\n").split("\t", 1)[1].split())
            profiles.append(np.sort(np.array(list(counts.values())) / 100)[::-1])
    stretch = mean / np.mean([len(profile) for profile in profiles])
    found = []
    for i in rng.integers(0, len(profiles), n):
        size = max(1, round(len(profiles[i]) * stretch))
        ranks = np.linspace(0, len(profiles[i]) - 1, size)
        found.append(np.interp(ranks, np.arange(len(profiles[i])), profiles[i]))
    return found


def queries(
    base: SparseMatrix,
    folder: Path | None,
    n_queries: int,
    rng: np.random.Generator,
    mean: float,
) -> SparseMatrix:
    """Return queries about documents of the base, with the weights of real queries."""
    rows = []
    for weights in query_weights(folder, rng, n_queries, mean):
        row = int(rng.integers(0, base.n_rows))
        other = int(np.clip(row + rng.integers(-WINDOW, WINDOW + 1), 0, base.n_rows - 1))
        strength = np.zeros(base.size)
        for source, factor in ((row, 1.0), (other, 0.5)):
            vector = base.row(source)
            strength[vector.terms] += factor * vector.weights
        there = np.flatnonzero(strength)
        # Gumbel noise: a draw without replacement, in proportion to the squared weight.
        keys = 2 * np.log(strength[there]) + rng.gumbel(size=len(there))
        terms = there[np.argsort(-keys)[: len(weights)]]
        terms = terms[np.argsort(-strength[terms], kind="stable")]
        rows.append(SparseVector.from_arrays(terms, weights[: len(terms)], base.size))
    return SparseMatrix.from_rows(rows, base.size)


def clustered(base: SparseMatrix, seed: int) -> SparseMatrix:
    """Return the rows of the base in clustered order: neighbours are alike."""
    source = MatrixSource(base)
    frequencies = np.bincount(base.terms, minlength=base.size)
    points = project(
        source,
        inverse_frequencies(frequencies, base.n_rows),
        n_dimensions=128,
        seed=seed,
        n_threads=1,
        advance=lambda n: None,
    )
    order = cluster_order(
        points, leaf=16, n_iterations=8, seed=seed, n_threads=1, advance=lambda n: None
    )
    return base.take(order)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--splade-queries", type=Path)
    parser.add_argument("--query-terms", type=float, default=MEAN_QUERY_TERMS)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    configure()

    import scipy.sparse

    collection = open_vectors(arguments.base)
    base = clustered(collection.matrix(), arguments.seed)
    share = 0.5
    for _ in range(3):  # Terms that both sources keep count once, so the length is not linear.
        rng = np.random.default_rng(1)
        probe = mix(*base_arrays(base), 2_000, share, rng, WINDOW, base.size, 2 * base.size)
        share = min(1.0, share * MEAN_TERMS / (len(probe[1]) / 2_000))
    write_vectors(
        arguments.out / "vectors",
        documents(base, arguments.documents, share, arguments.seed),
        collection.vocabulary,
        encoder=f"synthetic from {collection.manifest.details['encoder']}",
        idf=collection.manifest.details["idf"],
        config={"documents": arguments.documents, "seed": arguments.seed, "share": share},
        overwrite=True,
    )
    rng = np.random.default_rng(arguments.seed)
    made = queries(base, arguments.splade_queries, arguments.queries, rng, arguments.query_terms)
    scipy.sparse.save_npz(arguments.out / "queries.npz", scipy.sparse.csr_matrix(made.to_scipy()))
    written = open_vectors(arguments.out / "vectors")
    print(
        f"{written.n_documents:,} documents of {written.nnz / written.n_documents:.1f} terms, "
        f"{made.n_rows:,} queries of {made.nnz / made.n_rows:.1f}: {arguments.out}"
    )


if __name__ == "__main__":
    main()
