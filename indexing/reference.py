"""The kernels of `indexing.kernels` in plain numpy: same names, same arguments, same results.

Slow and short; the tests compare the two. Scratch arguments are taken and ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.filters import rows_of
from indexing.kernels import CHUNK_ROWS

__all__ = [
    "document_terms",
    "exact_search",
    "log_sum",
    "score_rows",
    "score_vectors",
    "set_rows",
    "transpose_rows",
]

Array = Any


def exact_search(
    pointers: Array,
    rows: Array,
    weights: Array,
    n_documents: int,
    n_terms: int,
    indptr: Array,
    query_terms: Array,
    query_weights: Array,
    first: int,
    last: int,
    k: int,
    allowed: Array,
    accumulator: Array,
    accumulator_bits: Array,
    heap: Array,
    out_rows: Array,
    out_score_bits: Array,
) -> None:
    """Score all documents for the queries ``first:last`` and write the best `k` of each."""
    for query in range(first, last):
        scores = np.zeros(n_documents, dtype=np.float32)
        for chunk in range(-(-n_documents // CHUNK_ROWS)):
            for j in range(indptr[query], indptr[query + 1]):
                at = chunk * n_terms + query_terms[j]
                postings = slice(pointers[at], pointers[at + 1])
                to = chunk * CHUNK_ROWS + rows[postings].astype(np.int64)
                scores[to] += query_weights[j] * weights[postings]
        candidates = np.flatnonzero(scores)
        if len(allowed):
            candidates = np.intersect1d(candidates, rows_of(allowed, n_documents))
        best = candidates[np.lexsort((candidates, -scores[candidates]))][:k]
        out_rows[query, : len(best)] = best
        out_score_bits[query, : len(best)] = scores[best].view(np.int32)


def transpose_rows(
    indptr: Array,
    terms: Array,
    weights: Array,
    base: int,
    pointers: Array,
    out_rows: Array,
    out_weights: Array,
    cursor: Array,
) -> None:
    """Write the postings of a chunk of rows, by term and then by row."""
    here = slice(indptr[0], indptr[-1])
    row_of = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(terms[here], kind="stable")
    out_rows[:] = row_of[order]
    out_weights[:] = weights[here][order]
    counts = np.bincount(terms[here], minlength=len(pointers))
    pointers[:] = base + np.cumsum(counts) - counts


def document_terms(
    pointers: Array,
    rows: Array,
    weights: Array,
    n_terms: int,
    row: int,
    out_terms: Array,
    out_weights: Array,
) -> int:
    """Write the terms and weights of one row, terms ascending; return how many."""
    base, local = (row // CHUNK_ROWS) * n_terms, row % CHUNK_ROWS
    n = 0
    for term in range(n_terms):
        postings = slice(pointers[base + term], pointers[base + term + 1])
        for weight in weights[postings][rows[postings] == local]:
            out_terms[n], out_weights[n] = term, weight
            n += 1
    return n


def score_rows(
    pointers: Array,
    rows: Array,
    weights: Array,
    n_terms: int,
    query_terms: Array,
    query_weights: Array,
    wanted: Array,
    out_scores: Array,
) -> None:
    """Write the scores of some rows."""
    out_scores[:] = 0
    chunks, local = wanted // CHUNK_ROWS, wanted % CHUNK_ROWS
    for term, weight in zip(query_terms, query_weights, strict=True):
        for i in range(len(wanted)):
            at = chunks[i] * n_terms + term
            postings = slice(pointers[at], pointers[at + 1])
            found = np.flatnonzero(rows[postings] == local[i])
            if len(found):
                out_scores[i] += weight * weights[postings][found[0]]


def score_vectors(
    indptr: Array, terms: Array, weights: Array, query: Array, out_scores: Array
) -> None:
    """Write the score of every vector of a small matrix against a dense query."""
    for row in range(len(indptr) - 1):
        total = np.float32(0)
        for i in range(indptr[row], indptr[row + 1]):
            total += query[terms[i]] * weights[i]
        out_scores[row] = total


def log_sum(words: Array, first: int, second: int) -> int:
    """Return SQLite's running checksum of its write-ahead log."""
    values = words.tolist()
    for x, y in zip(values[::2], values[1::2], strict=True):
        first = (first + x + second) & 0xFFFFFFFF
        second = (second + y + first) & 0xFFFFFFFF
    return (first << 32) | second


def set_rows(words: Array, out_rows: Array) -> int:
    """Write the rows whose bit is set, ascending; return how many."""
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    rows = np.flatnonzero(bits)
    out_rows[: len(rows)] = rows
    return len(rows)
