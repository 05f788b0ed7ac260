"""The numba kernel of clustered search: estimate blocks, visit the best, score exactly.

Rules as in `indexing.kernels`. The steps have modules of their own: `kernels_query`,
`kernels_estimates`, `kernels_opening`, `kernels_selection`, `kernels_scoring`; what they take is in
`kernels_arrays`. Twins are in `indexing.reference_clustered`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit
from indexing.kernels import heap_drain
from indexing.kernels_arrays import (
    Candidates,
    Documents,
    Found,
    Maxima,
    Opened,
    Query,
    Result,
    Sums,
    Terms,
)
from indexing.kernels_estimates import bound_blocks, estimate_blocks
from indexing.kernels_geometry import slot_of
from indexing.kernels_opening import first_sums, open_super_blocks, super_blocks_of
from indexing.kernels_query import (
    ESTIMATE_UNITS,
    MAX_TERMS,
    bound_scale,
    clear_query,
    largest_score,
    left_out,
    set_query,
    term_threshold,
)
from indexing.kernels_scoring import kth_units, rescore, visit_coarse, visit_fine
from indexing.kernels_selection import (
    NO_BOUND,
    collect_blocks,
    collect_chosen,
    collect_opened,
    count_from,
    order_blocks,
    threshold_for,
)

__all__ = ["STATS", "clustered_search"]

U = np.uint64

STATS = 5
"""What a query leaves: blocks listed, blocks visited, documents scored, documents scored again,
whether the result is proven exact."""


@jit
def estimate_near(
    query,
    blocks,
    wide,
    wide_shift,
    max_wide,
    threshold,
    scale,
    row_bytes,
    terms,
    sums,
    wide_sums,
    opened,
    candidates,
):
    """Estimate the blocks near the best `max_wide` wide blocks; return how many sums there are.

    Parameters are those of `clustered_search` and of `open_super_blocks`.
    """
    estimate_blocks(query, wide, threshold, scale, terms, wide_sums)
    least = threshold_for(wide_sums, max_wide, np.uint8(1))
    n = collect_blocks(wide_sums, least, NO_BOUND, 8, candidates)
    for i in range(U(n)):
        opened.ids[i] = candidates.blocks[i]
    n = super_blocks_of(opened.ids, n, wide_shift, opened.bits)
    return open_super_blocks(
        query, blocks, threshold, scale, row_bytes, terms.tables, opened, n, sums
    )


@jit
def find_approximate(
    query,
    documents,
    blocks,
    wide,
    wide_shift,
    inverse_fine_scale,
    coarse_unit,
    coarse_scale,
    k,
    certify,
    mass,
    heap_factor,
    max_blocks,
    max_wide,
    rescore_share,
    allowed,
    chosen,
    row_bytes,
    terms,
    all_sums,
    wide_sums,
    opened,
    candidates,
    found,
    result,
    stats,
):
    """Fill the result heap from the blocks that promise most; return its size.

    Parameters are those of `clustered_search`; `coarse_scale` is the coarse weight of a query
    weight of 1, `all_sums` are in 8 bits.
    """
    found.state[:] = 0
    threshold = term_threshold(query.weights, np.float64(mass), MAX_TERMS)
    bound = largest_score(query, threshold, blocks.term_max)
    if bound <= 0:
        return 0
    scale = np.float64(ESTIMATE_UNITS) / bound
    near = len(wide.dense_row) > 0 and len(chosen) == 0
    n_sums = np.int64(2 * row_bytes)
    if near:
        n_sums = estimate_near(
            query,
            blocks,
            wide,
            wide_shift,
            max_wide,
            threshold,
            scale,
            row_bytes,
            terms,
            all_sums,
            wide_sums,
            opened,
            candidates,
        )
    sums = first_sums(all_sums, n_sums)
    if not near:
        estimate_blocks(query, blocks, threshold, scale, terms, sums)
    bar_factor = np.float64(0)
    visits = np.int64(max_blocks)
    if heap_factor > 0:
        per_unit = coarse_scale * np.float64(coarse_unit) / (scale * 256)
        bar_factor = per_unit / np.float64(heap_factor)
        visits = np.int64(NO_BOUND) << 20
    least = np.int64(1)
    if len(chosen) == 0:
        least = threshold_for(sums, max_blocks, np.uint8(1))
    below = np.int64(NO_BOUND)
    while True:
        if near:
            n = collect_opened(sums, opened.ids, least, below, candidates)
        elif len(chosen) > 0:
            n = collect_chosen(sums, chosen, least, below, 8, candidates)
        else:
            n = collect_blocks(sums, least, below, 8, candidates)
        order_blocks(candidates, n)
        stats[0] += n
        visit_coarse(candidates, n, visits, bar_factor, documents, terms.coarse, allowed, k, found)
        # The list ran out: go on below it while results are missing, or while a heap factor is
        # in force and blocks reach its bar.
        if least <= 1 or found.state[3] != 0:
            break
        below = least
        least = np.int64(1)
        if found.state[0] == k:
            if heap_factor == 0:
                break
            least = max(least, np.int64(np.float64(found.heap[0]) / (bar_factor * 256)))
            if least >= below:
                break
    stats[1] = found.state[2]
    stats[2] = found.state[1]
    lowest = np.int64(0)
    if found.state[0] == k and not certify:
        lowest = np.int64(np.float64(found.heap[0]) * np.float64(rescore_share))
    size, n = rescore(found, lowest, documents, terms.fine, inverse_fine_scale, result, k)
    stats[3] = n
    return size


@jit
def find_exact(
    query,
    documents,
    blocks,
    inverse_fine_scale,
    k,
    max_blocks,
    allowed,
    chosen,
    scale,
    slack,
    terms,
    sums,
    candidates,
    result,
    stats,
):
    """Fill the result heap from every block whose bound reaches the k-th score; return its size.

    Parameters are those of `clustered_search`; `sums` are the bounds in 16 bits, in units of
    `scale`; `slack` is added to each.
    """
    lowest = np.int64(0) if slack > 0 else np.int64(1)
    size = 0
    least = lowest
    if len(chosen) == 0:
        least = threshold_for(sums, max_blocks, np.uint16(1))
    below = np.int64(NO_BOUND)
    while True:
        if len(chosen) > 0:
            n = collect_chosen(sums, chosen, least, below, 0, candidates)
        else:
            n = collect_blocks(sums, least, below, 0, candidates)
        order_blocks(candidates, n)
        stats[0] += n
        size = visit_fine(
            candidates,
            n,
            slack,
            scale,
            documents,
            terms.fine,
            allowed,
            inverse_fine_scale,
            result,
            size,
            k,
            stats,
        )
        if least <= lowest:
            break
        below = least
        least = lowest
        if size == k:
            least = max(lowest, kth_units(result, scale, inverse_fine_scale) - slack)
            if least >= below:
                break
    return size


@jit
def is_proven(sums, found, scale, inverse_fine_scale, result):
    """Return whether no block but the visited ones has a bound that reaches the k-th score.

    Clears the bounds of the visited blocks.
    """
    row_bytes = len(sums.blocks) >> 1
    for i in range(U(found.state[2])):
        sums.blocks[slot_of(found.blocks[i], row_bytes)] = 0
    bar = kth_units(result, scale, inverse_fine_scale)
    bar = min(max(bar, np.int64(1)), np.int64(65535))
    return count_from(sums.blocks, np.uint16(bar)) == 0


@jit
def clustered_search(
    index,
    block_level,
    wide_level,
    wide_shift,
    inverse_fine_scale,
    coarse_unit,
    query_terms,
    query_weights,
    k,
    mode,
    mass,
    heap_factor,
    max_blocks,
    max_wide,
    rescore_share,
    allowed,
    chosen,
    scratch_terms,
    bound_scratch,
    estimate_scratch,
    wide_scratch,
    scratch_opened,
    scratch_candidates,
    scratch_found,
    scratch_result,
    stats,
    out_rows,
    out_score_bits,
):
    """Write the best `k` rows of one query and return how many there are.

    Parameters
    ----------
    index : tuple
        In the order of `kernels_arrays.Documents`.
    block_level, wide_level : tuple
        In the order of `kernels_arrays.Maxima`; those of wide blocks may be empty.
    wide_shift : int
        See `super_blocks_of`.
    inverse_fine_scale : float32
        A score of stored weights times this is the true one.
    coarse_unit : float
        Coarse weight of a stored weight of 1.
    query_terms, query_weights : int32, float32, shape (nnz,)
    k, mode : int
        Mode 0: approximate. 1: exact. 2: approximate, with a certificate in ``stats[4]``.
    mass, heap_factor, max_blocks, max_wide, rescore_share
        See `indexing.config_clustered.ClusteredParams`.
    allowed : uint64, shape (ceil(n_documents / 64),) or (0,)
        Row bitmap; empty where every row may be a result.
    chosen : uint32, shape (n,)
        The only blocks with allowed rows where they are few, else empty.
    scratch_terms : tuple
        As `kernels_arrays.Terms`.
    bound_scratch, estimate_scratch, wide_scratch : tuple
        As `kernels_arrays.Sums`: of all blocks in 16 bits, of as many and the padding of opened
        super-blocks in 8 bits, of wide blocks in 8 bits.
    scratch_opened, scratch_candidates, scratch_found, scratch_result : tuple
        As `kernels_arrays.Opened`, `Candidates`, `Found`, `Result`.
    stats : int64, shape (5,)
        Written: see `STATS`.
    out_rows, out_score_bits : int32, shape (>= k,)
        Written.
    """
    query = Query(query_terms, query_weights)
    documents = Documents(*index)
    blocks = Maxima(*block_level)
    terms = Terms(*scratch_terms)
    bounds = Sums(*bound_scratch)
    candidates = Candidates(*scratch_candidates)
    found = Found(*scratch_found)
    result = Result(*scratch_result)
    stats[:] = 0
    coarse_scale = set_query(query, terms.coarse, terms.fine)
    if coarse_scale == 0:
        return 0
    size = 0
    stats[4] = 1
    if mode != 1:
        stats[4] = 0
        size = find_approximate(
            query,
            documents,
            blocks,
            Maxima(*wide_level),
            wide_shift,
            inverse_fine_scale,
            coarse_unit,
            coarse_scale,
            k,
            mode == 2,
            mass,
            heap_factor,
            max_blocks,
            max_wide,
            rescore_share,
            allowed,
            chosen,
            len(bounds.blocks) >> 1,
            terms,
            Sums(*estimate_scratch),
            Sums(*wide_scratch),
            Opened(*scratch_opened),
            candidates,
            found,
            result,
            stats,
        )
    # Documents that hold only terms left out, or next to nothing of the others, may be results
    # where an approximate search finds too few: the exact pass finds all.
    exact = mode == 1 or size < k
    bound = largest_score(query, np.float32(0), blocks.term_max)
    if bound > 0 and (exact or mode == 2):
        scale = bound_scale(len(query.terms), bound)
        slack = np.int64(np.ceil(left_out(query, blocks.term_max) * scale))
        bound_blocks(query, blocks, scale, terms, bounds)
        if exact:
            stats[4] = 1
            size = find_exact(
                query,
                documents,
                blocks,
                inverse_fine_scale,
                k,
                max_blocks,
                allowed,
                chosen,
                scale,
                slack,
                terms,
                bounds,
                candidates,
                result,
                stats,
            )
        elif slack == 0:
            stats[4] = np.int64(is_proven(bounds, found, scale, inverse_fine_scale, result))
    clear_query(query, terms.coarse, terms.fine)
    heap_drain(result.heap, size, out_rows, out_score_bits)
    return size
