"""The kernels of the Seismic layout in plain numpy: same names, same arguments, same results.

Slow and short; the tests compare the two. Scratch arguments are taken and ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.filters import rows_of
from indexing.kernels_seismic import N_PENDING
from indexing.kernels_seismic_estimates import N_BUCKETS

__all__ = [
    "cap_list",
    "cluster_list",
    "count_postings",
    "forward_scores",
    "order_rows",
    "scatter_postings",
    "seismic_search",
    "summarise_list",
]

Array = Any


def order_rows(
    pointers: Array,
    terms: Array,
    coarse: Array,
    fine: Array,
    out_terms: Array,
    out_coarse: Array,
    out_fine: Array,
    counts: Array,
) -> None:
    """Write every row with its terms by coarse weight descending, ties in their order."""
    row_of = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    order = np.lexsort((-coarse.astype(int), row_of))
    out_terms[:], out_coarse[:], out_fine[:] = terms[order], coarse[order], fine[order]


def count_postings(terms: Array, fine: Array, threshold: int, counts: Array) -> None:
    """Add to `counts` the entries by term whose fine bits reach `threshold`."""
    np.add.at(counts, terms[fine >= threshold].astype(int), 1)


def scatter_postings(
    pointers: Array,
    terms: Array,
    fine: Array,
    first: int,
    last: int,
    threshold: int,
    term_low: int,
    term_high: int,
    cursor: Array,
    out_rows: Array,
    out_fine: Array,
) -> None:
    """Write the postings of the rows ``first:last`` and the terms ``term_low:term_high``."""
    row_of = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    kept = (row_of >= first) & (row_of < last) & (fine >= threshold)
    for term in range(term_low, term_high):
        here = np.flatnonzero(kept & (terms == term))
        to = slice(cursor[term], cursor[term] + len(here))
        out_rows[to], out_fine[to] = row_of[here], fine[here]
        cursor[term] += len(here)


def cap_list(rows: Array, fine: Array, cap: int, out_rows: Array, counts: Array) -> int:
    """Write the `cap` heaviest postings of a list in their order; return how many."""
    kept = np.sort(np.lexsort((rows, -fine.astype(int)))[:cap])
    out_rows[:] = rows[kept]
    return len(kept)


def _random(state: int) -> tuple[int, int]:
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def cluster_list(
    rows: Array,
    n_centroids: int,
    min_cluster_size: int,
    doc_cut: int,
    state: Array,
    pointers: Array,
    terms: Array,
    coarse: Array,
    slots: Array,
    centroids: Array,
    list_starts: Array,
    touched: Array,
    list_centroids: Array,
    list_weights: Array,
    similarities: Array,
    assigned: Array,
    sizes: Array,
    out_rows: Array,
    out_starts: Array,
) -> int:
    """Divide a list into blocks of similar documents; return the number of blocks."""

    def dense(row: int, cut: int | None) -> Array:
        vector = np.zeros(len(slots), dtype=np.int64)
        here = slice(pointers[row], pointers[row + 1] if cut is None else None)
        if cut is not None:
            here = slice(pointers[row], min(pointers[row] + cut, pointers[row + 1]))
        vector[terms[here].astype(int)] = coarse[here]
        return vector

    shuffled = rows.tolist()
    now = int(state[0])
    for i in range(n_centroids):
        now, drawn = _random(now)
        j = i + drawn % (len(rows) - i)
        shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
    centres = np.stack([dense(row, None) for row in shuffled[:n_centroids]])
    products = np.stack([centres @ dense(row, doc_cut) for row in rows])
    nearest = products.argmax(axis=1)
    large = np.bincount(nearest, minlength=n_centroids) >= min_cluster_size
    if large.any():
        again = np.where(large, products, -1).argmax(axis=1)
        nearest = np.where(large[nearest], nearest, again)
    out_rows[: len(rows)] = rows[np.argsort(nearest, kind="stable")]
    counts = np.bincount(nearest, minlength=n_centroids)
    starts = (np.cumsum(counts) - counts)[counts > 0]
    out_starts[: len(starts)] = starts
    return len(starts)


def summarise_list(
    rows: Array,
    starts: Array,
    n_blocks: int,
    energy: float,
    pointers: Array,
    terms: Array,
    coarse: Array,
    maxima: Array,
    touched: Array,
    histogram: Array,
    block_terms: Array,
    block_weights: Array,
    block_ends: Array,
    term_counts: Array,
    out_components: Array,
    out_offsets: Array,
    out_blocks: Array,
    out_weights: Array,
) -> tuple[int, int]:
    """Write the summaries of a list's blocks, by component; return their number and the entries'."""
    summaries = np.zeros((n_blocks, len(maxima)), dtype=np.int64)
    for block in range(n_blocks):
        for row in rows[starts[block] : starts[block + 1]]:
            here = slice(pointers[row], pointers[row + 1])
            np.maximum.at(summaries[block], terms[here].astype(int), coarse[here])
        heaviest = np.sort(summaries[block])[::-1]
        enough = np.flatnonzero(np.cumsum(heaviest) >= energy * heaviest.sum())
        cut = max(int(heaviest[enough[0]]), 1)
        summaries[block][summaries[block] < cut] = 0
    components, blocks = np.nonzero(summaries.T)
    distinct, counts = np.unique(components, return_counts=True)
    out_components[: len(distinct)] = distinct
    out_offsets[: len(distinct) + 1] = np.concatenate([[0], np.cumsum(counts)])
    out_blocks[: len(blocks)] = blocks
    out_weights[: len(blocks)] = summaries[blocks, components]
    return len(distinct), len(blocks)


def _best(scores: dict[int, Any], k: int) -> list[tuple[int, Any]]:
    return sorted(scores.items(), key=lambda x: (-x[1], x[0]))[:k]


def _write(best: list[tuple[int, Any]], out_rows: Array, out_score_bits: Array) -> None:
    out_rows[: len(best)] = [row for row, _ in best]
    out_score_bits[: len(best)] = np.array([s for _, s in best], np.float32).view(np.int32)


def _fine(pointers: Array, terms: Array, fine: Array, query: Array, row: int) -> Any:
    score = np.float32(0)
    for at in range(pointers[row], pointers[row + 1]):
        score += query[terms[at]] * np.float32(fine[at].view(np.float16))
    return score


def seismic_search(
    blocks_of_list: Array,
    block_starts: Array,
    postings: Array,
    list_components: Array,
    components: Array,
    component_offsets: Array,
    entry_pointers: Array,
    entry_blocks: Array,
    entry_weights: Array,
    pointers: Array,
    terms: Array,
    coarse: Array,
    fine: Array,
    neighbors: Array,
    indptr: Array,
    query_terms: Array,
    query_weights: Array,
    first: int,
    last: int,
    k: int,
    query_cut: int,
    heap_factor: float,
    rescore_share: float,
    n_knn: int,
    weight_scale: float,
    allowed: Array,
    coarse_query: Array,
    fine_query: Array,
    term_order: Array,
    estimates: Array,
    candidate_blocks: Array,
    block_order: Array,
    counts: Array,
    visited: Array,
    rows: Array,
    scores: Array,
    score_heap: Array,
    heap: Array,
    stats: Array,
    out_rows: Array,
    out_score_bits: Array,
) -> None:
    """Search the queries ``first:last`` and write the best `k` rows of each."""
    n_documents = len(pointers) - 1
    may = set(range(n_documents))
    if len(allowed):
        may = set(rows_of(allowed, n_documents).tolist())
    for query in range(first, last):
        here = slice(indptr[query], indptr[query + 1])
        its_terms, its_weights = query_terms[here], query_weights[here]
        if len(its_terms) == 0:
            continue
        top = np.float32(min(255, (2**31 - 1) // (255 * len(its_terms))))
        quantised = its_weights / its_weights.max() * top + np.float32(0.5)
        in_bytes = np.zeros(len(coarse_query), np.int64)
        in_bytes[its_terms] = quantised.astype(np.uint8)
        in_floats = np.zeros(len(fine_query), np.float32)
        in_floats[its_terms] = (its_weights * weight_scale).astype(np.float32)

        candidates: list[tuple[int, int]] = []
        for j in np.lexsort((np.arange(len(its_terms)), -its_weights))[:query_cut]:
            term = int(its_terms[j])
            estimate = np.zeros(blocks_of_list[term + 1] - blocks_of_list[term], np.int64)
            for c in range(list_components[term], list_components[term + 1]):
                low, high = entry_pointers[term] + component_offsets[
                    c + term : c + term + 2
                ].astype(int)
                weight = in_bytes[components[c]]
                estimate[entry_blocks[low:high]] += weight * entry_weights[low:high].astype(int)
            block = int(blocks_of_list[term])
            candidates += [(int(e), block + i) for i, e in enumerate(estimate)]
        shift = 0
        while max([1, *(e for e, _ in candidates)]) >> shift >= N_BUCKETS:
            shift += 1
        candidates.sort(key=lambda x: -(x[0] >> shift))

        scored: dict[int, int] = {}
        kth, bound, at = 0, 0, 0

        def score(found: list[int], scored: dict[int, int] = scored, q: Array = in_bytes) -> None:
            for row in found:
                its = slice(pointers[row], pointers[row + 1])
                scored[row] = int((q[terms[its].astype(int)] * coarse[its].astype(int)).sum())

        while at < len(candidates):
            pending: list[int] = []
            while at < len(candidates) and len(pending) < N_PENDING:
                if candidates[at][0] < bound:
                    break
                block = candidates[at][1]
                for row in postings[block_starts[block] : block_starts[block + 1]].tolist():
                    if row in may and row not in scored and row not in pending:
                        pending.append(row)
                at += 1
            score(pending)
            if len(scored) >= k:
                kth = sorted(scored.values(), reverse=True)[k - 1]
                bound = int(np.ceil(heap_factor * kth))
            if at < len(candidates) and candidates[at][0] < bound:
                break
        if n_knn and scored:
            near = [row for row, s in scored.items() if s >= kth]
            found = neighbors[near, :n_knn].ravel().tolist()
            score([row for row in dict.fromkeys(found) if row in may and row not in scored])
        limit = 0
        if len(scored) >= k:
            kth = sorted(scored.values(), reverse=True)[k - 1]
            limit = int(np.ceil(rescore_share * kth))
        finals = {
            row: _fine(pointers, terms, fine, in_floats, row)
            for row, s in scored.items()
            if s >= limit
        }
        best = _best({row: s for row, s in finals.items() if s > 0}, k)
        _write(best, out_rows[query], out_score_bits[query])
        stats += (len(candidates), at, len(scored), len(finals))


def forward_scores(
    pointers: Array,
    terms: Array,
    fine: Array,
    query_terms: Array,
    query_weights: Array,
    weight_scale: float,
    k: int,
    allowed: Array,
    fine_query: Array,
    heap: Array,
    out_rows: Array,
    out_score_bits: Array,
) -> None:
    """Score every document for one query and write the best `k`."""
    n_documents = len(pointers) - 1
    query = np.zeros(len(fine_query), np.float32)
    query[query_terms] = (query_weights * weight_scale).astype(np.float32)
    may = rows_of(allowed, n_documents) if len(allowed) else np.arange(n_documents)
    scores = {int(row): _fine(pointers, terms, fine, query, row) for row in may}
    _write(_best({row: s for row, s in scores.items() if s > 0}, k), out_rows, out_score_bits)
