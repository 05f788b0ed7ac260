"""Numba kernels of the Seismic layout's queries; rules as in `indexing.kernels`.

Estimates of blocks come from `indexing.kernels_seismic_estimates`, the heap from `indexing.kernels`:
remove ``__pycache__`` after an edit there.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import half_to_float, jit, prefetch
from indexing.kernels import heap_drain, heap_insert
from indexing.kernels_seismic_estimates import estimate_list, heaviest, order_blocks

__all__ = ["forward_scores", "seismic_search"]

U = np.uint64

N_PENDING = 32
"""Documents gathered before they are scored: enough that prefetched lines have arrived."""

_ROW_MASK = np.uint64(0xFFFFFFFF)
_LINE_TERMS = 32
_LINE_BYTES = 64


@jit
def score_coarse(rows, first, last, pointers, terms, coarse, coarse_query, scores, heap, size, k):
    """Write the coarse scores of ``rows[first:last]``, keep the best; return the heap's size.

    The lines of a document are asked for four documents ahead.
    """
    for i in range(U(first), U(min(first + 4, last))):
        prefetch_row(pointers, terms, coarse, rows[i])
    for i in range(U(first), U(last)):
        ahead = i + U(4)
        if ahead < U(last):
            prefetch_row(pointers, terms, coarse, rows[ahead])
        row = U(rows[i])
        score = np.int32(0)
        for at in range(U(pointers[row]), U(pointers[row + U(1)])):
            score += np.int32(coarse_query[U(terms[at])]) * np.int32(coarse[at])
        scores[i] = score
        if size < k or score > heap[U(0)]:
            size = heap_insert(heap, size, k, score)
    return size


@jit
def prefetch_row(pointers, terms, values, row):
    """Ask for the cache lines of a row's terms and one-byte weights."""
    start = U(pointers[U(row)])
    stop = U(pointers[U(row) + U(1)])
    for at in range(start, stop, U(_LINE_TERMS)):
        prefetch(terms, at)
    for at in range(start, stop, U(_LINE_BYTES)):
        prefetch(values, at)


@jit
def is_allowed(allowed, row):
    """Return whether a bitmap, or no bitmap, lets `row` into the result."""
    if len(allowed) == 0:
        return True
    return (allowed[U(row) >> U(6)] >> (U(row) & U(63))) & U(1) == U(1)


@jit
def score_fine(pointers, terms, fine, fine_query, row):
    """Return the score of a row from half floats, summed in float32 in the order of its terms."""
    score = np.float32(0)
    for at in range(U(pointers[U(row)]), U(pointers[U(row) + U(1)])):
        score += fine_query[U(terms[at])] * half_to_float(fine[at])
    return score


@jit
def seismic_search(
    blocks_of_list,
    block_starts,
    postings,
    list_components,
    components,
    component_offsets,
    entry_pointers,
    entry_blocks,
    entry_weights,
    pointers,
    terms,
    coarse,
    fine,
    neighbors,
    indptr,
    query_terms,
    query_weights,
    first,
    last,
    k,
    query_cut,
    heap_factor,
    rescore_share,
    n_knn,
    weight_scale,
    allowed,
    coarse_query,
    fine_query,
    term_order,
    estimates,
    candidate_blocks,
    block_order,
    counts,
    visited,
    rows,
    scores,
    score_heap,
    heap,
    stats,
    out_rows,
    out_score_bits,
):
    """Search the queries ``first:last`` and write the best `k` rows of each.

    1. Estimate every block of the lists of the `query_cut` heaviest terms.
    2. Visit blocks by estimate; score each of their documents once, in bytes; stop at the first
       estimate below `heap_factor` times the k-th score.
    3. Score the stored neighbours of the best documents.
    4. Score again, from half floats, what is within `rescore_share` of the k-th score.

    Parameters
    ----------
    blocks_of_list : int64, shape (n_terms + 1,)
        Blocks of a list's postings.
    block_starts : int64, shape (n_blocks + 1,)
    postings : int32, shape (n_postings,)
        Rows, by list and block.
    list_components … entry_weights
        The summaries; see `indexing.seismic`.
    pointers, terms, coarse, fine
        The forward index; see `indexing.forward`.
    neighbors : int32, shape (n_documents or 0, n_neighbors)
    indptr, query_terms, query_weights : int64, int32, float32
        The queries, in compressed rows.
    first, last, k, query_cut : int
    heap_factor, rescore_share : float
    n_knn : int
        At most ``neighbors.shape[1]``.
    weight_scale : float
        What a query weight is multiplied with to undo the scale of fine weights.
    allowed : uint64
        Row bitmap; empty where every row may be a result.
    coarse_query, fine_query : uint8, float32, shape (n_terms,)
        Scratch, zeros before and after.
    term_order : int64, shape (>= longest query,)
        Scratch.
    estimates, candidate_blocks, block_order : int32, int64, int32
        Scratch for all blocks of `query_cut` lists.
    counts : int64, shape (kernels_seismic_estimates.N_BUCKETS + 1,)
        Scratch.
    visited : uint8, shape (n_documents,)
        Scratch, zeros before and after.
    rows, scores : int32, shape (n_documents,)
        Scratch. The documents scored stay in `rows`; see `stats`.
    score_heap, heap : int32, uint64, shape (k,)
        Scratch.
    stats : int64, shape (4,)
        Added to: blocks estimated, blocks visited, documents scored, documents scored again.
    out_rows, out_score_bits : int32, shape (n_queries, k)
        Padded with -1 and 0 by the caller.
    """
    for query in range(first, last):
        start, stop = indptr[query], indptr[query + 1]
        n_query = stop - start
        if n_query == 0:
            continue
        its_terms = query_terms[start:stop]
        its_weights = query_weights[start:stop]
        n_lists = min(query_cut, n_query)
        heaviest(its_weights, n_lists, term_order)
        largest = its_weights[term_order[0]]
        # 255, but for queries so long that a sum of n * top * 255 would not fit in int32.
        top = np.float32(min(255, (2**31 - 1) // (255 * n_query)))
        for j in range(n_query):
            term = U(its_terms[j])
            coarse_query[term] = np.uint8(its_weights[j] / largest * top + np.float32(0.5))
            fine_query[term] = np.float32(its_weights[j] * weight_scale)

        n_blocks = 0
        for j in range(n_lists):
            term = np.int64(its_terms[term_order[j]])
            block = blocks_of_list[term]
            n_here = blocks_of_list[term + 1] - block
            estimates[n_blocks : n_blocks + n_here] = 0
            estimate_list(
                term,
                its_terms,
                coarse_query,
                list_components,
                components,
                component_offsets,
                entry_pointers,
                entry_blocks,
                entry_weights,
                estimates[n_blocks : n_blocks + n_here],
            )
            for i in range(n_here):
                candidate_blocks[U(n_blocks + i)] = block + i
            n_blocks += n_here
        order_blocks(estimates, n_blocks, block_order, counts)

        size = 0
        n_rows = 0
        n_scored = 0
        at = 0
        bound = np.int64(0)
        while at < n_blocks:
            while at < n_blocks and n_rows - n_scored < N_PENDING:
                candidate = U(block_order[U(at)])
                if estimates[candidate] < bound:
                    break
                block = U(candidate_blocks[candidate])
                if at + 4 < n_blocks:
                    ahead = U(candidate_blocks[U(block_order[U(at + 4)])])
                    prefetch(postings, U(block_starts[ahead]))
                for i in range(U(block_starts[block]), U(block_starts[block + U(1)])):
                    row = postings[i]
                    if visited[U(row)] == 0 and is_allowed(allowed, row):
                        visited[U(row)] = np.uint8(1)
                        rows[U(n_rows)] = row
                        n_rows += 1
                        prefetch(pointers, U(row))
                at += 1
            size = score_coarse(
                rows,
                n_scored,
                n_rows,
                pointers,
                terms,
                coarse,
                coarse_query,
                scores,
                score_heap,
                size,
                k,
            )
            n_scored = n_rows
            if size == k:
                bound = np.int64(np.ceil(heap_factor * score_heap[0]))
            if at < n_blocks and estimates[U(block_order[U(at)])] < bound:
                break
        stats[0] += n_blocks
        stats[1] += at

        if n_knn > 0 and size > 0:
            threshold = score_heap[0] if size == k else np.int32(0)
            for i in range(n_scored):
                if scores[i] < threshold:
                    continue
                for j in range(n_knn):
                    row = neighbors[rows[i], j]
                    if row >= 0 and visited[U(row)] == 0 and is_allowed(allowed, row):
                        visited[U(row)] = np.uint8(1)
                        rows[U(n_rows)] = row
                        n_rows += 1
            size = score_coarse(
                rows,
                n_scored,
                n_rows,
                pointers,
                terms,
                coarse,
                coarse_query,
                scores,
                score_heap,
                size,
                k,
            )
        stats[2] += n_rows

        limit = np.int64(0)
        if size == k:
            limit = np.int64(np.ceil(rescore_share * score_heap[0]))
        n_found = 0
        n_again = 0
        for i in range(U(n_rows)):
            row = rows[i]
            visited[U(row)] = np.uint8(0)
            if scores[i] >= limit:
                # Gathered first, over scores already read, so that lines can be asked for ahead.
                scores[U(n_again)] = row
                n_again += 1
        for i in range(n_again):
            if i + 3 < n_again:
                prefetch_fine(pointers, terms, fine, scores[U(i + 3)])
            row = scores[U(i)]
            score = score_fine(pointers, terms, fine, fine_query, row)
            if score > np.float32(0):
                key = (U(score_bits(score)) << U(32)) | (_ROW_MASK - U(row))
                if n_found < k or key > heap[U(0)]:
                    n_found = heap_insert(heap, n_found, k, key)
        stats[3] += n_again
        heap_drain(heap, n_found, out_rows[query], out_score_bits[query])
        for j in range(n_query):
            coarse_query[U(its_terms[j])] = np.uint8(0)
            fine_query[U(its_terms[j])] = np.float32(0)


@jit
def prefetch_fine(pointers, terms, fine, row):
    """Ask for the cache lines of a row's terms and two-byte weights."""
    for at in range(U(pointers[U(row)]), U(pointers[U(row) + U(1)]), U(_LINE_TERMS)):
        prefetch(terms, at)
        prefetch(fine, at)


@jit
def score_bits(score):
    """Return the bits of a positive float32 as an integer."""
    return np.float32(score).view(np.int32)


@jit
def forward_scores(
    pointers,
    terms,
    fine,
    query_terms,
    query_weights,
    weight_scale,
    k,
    allowed,
    fine_query,
    heap,
    out_rows,
    out_score_bits,
):
    """Score every document for one query and write the best `k`: exact search without lists.

    Parameters
    ----------
    pointers, terms, fine
        The forward index.
    query_terms, query_weights : int32, float32, shape (n,)
    weight_scale, k, allowed, fine_query, heap
        As in `seismic_search`.
    out_rows, out_score_bits : int32, shape (k,)
        Padded with -1 and 0 by the caller.
    """
    for j in range(U(len(query_terms))):
        fine_query[U(query_terms[j])] = np.float32(query_weights[j] * weight_scale)
    size = 0
    for row in range(U(len(pointers) - 1)):
        # First the bit: where few rows are allowed, few are scored.
        if not is_allowed(allowed, row):
            continue
        score = score_fine(pointers, terms, fine, fine_query, row)
        if score > np.float32(0):
            key = (U(score_bits(score)) << U(32)) | (_ROW_MASK - row)
            if size < k or key > heap[U(0)]:
                size = heap_insert(heap, size, k, key)
    heap_drain(heap, size, out_rows, out_score_bits)
    for j in range(U(len(query_terms))):
        fine_query[U(query_terms[j])] = np.float32(0)
