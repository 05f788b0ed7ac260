"""The numba kernel of clustered search: estimate blocks, visit the best, score exactly.

Rules as in `indexing.kernels`. The steps have modules of their own: `kernels_query`,
`kernels_estimates`, `kernels_opening`, `kernels_selection`, `kernels_scoring`; what they take is in
`kernels_arrays`. Twins are in `indexing.reference_clustered`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit
from indexing.kernels import heap_drain
from indexing.kernels_arrays import Query, Settings, name_index, name_scratch
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
def estimate_near(query, index, max_wide, threshold, scale, scratch):
    """Estimate the blocks near the best `max_wide` wide blocks; return how many sums there are.

    Parameters are those of `find_approximate` and `open_super_blocks`.
    """
    estimate_blocks(query, index.wide, threshold, scale, scratch.terms, scratch.wide)
    least = threshold_for(scratch.wide, max_wide, np.uint8(1))
    n = collect_blocks(scratch.wide, least, NO_BOUND, 8, scratch.candidates)
    ids = scratch.opened.ids
    for i in range(U(n)):
        ids[i] = scratch.candidates.blocks[i]
    return open_super_blocks(
        query,
        index.blocks,
        threshold,
        scale,
        len(scratch.bounds.blocks) >> 1,
        scratch.terms.tables,
        scratch.opened,
        super_blocks_of(ids, n, index.wide_shift, scratch.opened.bits),
        scratch.estimates,
    )


@jit
def find_approximate(query, index, settings, allowed, chosen, coarse_scale, scratch):
    """Fill the result heap from the blocks that promise most; return its size.

    Parameters
    ----------
    query : Query
    index : Index
    settings : Settings
    allowed, chosen
        See `clustered_search`.
    coarse_scale : float
        Coarse weight of a query weight of 1.
    scratch : Scratch
    """
    found = scratch.found
    candidates = scratch.candidates
    found.state[:] = 0
    threshold = term_threshold(query.weights, np.float64(settings.mass), MAX_TERMS)
    bound = largest_score(query, threshold, index.blocks.term_max)
    if bound <= 0:
        return 0
    scale = np.float64(ESTIMATE_UNITS) / bound
    near = len(index.wide.dense_row) > 0 and len(chosen) == 0
    n_sums = np.int64(len(scratch.bounds.blocks))
    if near:
        n_sums = estimate_near(query, index, settings.max_wide, threshold, scale, scratch)
    sums = first_sums(scratch.estimates, n_sums)
    if not near:
        estimate_blocks(query, index.blocks, threshold, scale, scratch.terms, sums)
    bar_factor = np.float64(0)
    visits = np.int64(settings.max_blocks)
    if settings.heap_factor > 0:
        per_unit = coarse_scale * np.float64(index.coarse_unit) / (scale * 256)
        bar_factor = per_unit / np.float64(settings.heap_factor)
        visits = np.int64(NO_BOUND) << 20
    least = np.int64(1)
    if len(chosen) == 0:
        least = threshold_for(sums, settings.max_blocks, np.uint8(1))
    below = np.int64(NO_BOUND)
    while True:
        if near:
            n = collect_opened(sums, scratch.opened.ids, least, below, candidates)
        elif len(chosen) > 0:
            n = collect_chosen(sums, chosen, least, below, 8, candidates)
        else:
            n = collect_blocks(sums, least, below, 8, candidates)
        order_blocks(candidates, n)
        scratch.stats[0] += n
        visit_coarse(
            candidates,
            n,
            visits,
            bar_factor,
            index.documents,
            scratch.terms.coarse,
            allowed,
            settings.k,
            found,
        )
        # The list ran out: go on below it while results are missing, or while a heap factor is
        # in force and blocks reach its bar.
        if least <= 1 or found.state[3] != 0:
            break
        below = least
        least = np.int64(1)
        if found.state[0] == settings.k:
            if settings.heap_factor == 0:
                break
            least = max(least, np.int64(np.float64(found.heap[0]) / (bar_factor * 256)))
            if least >= below:
                break
    scratch.stats[1] = found.state[2]
    scratch.stats[2] = found.state[1]
    lowest = np.int64(0)
    if found.state[0] == settings.k and settings.mode == 0:
        lowest = np.int64(np.float64(found.heap[0]) * np.float64(settings.rescore_share))
    size, n = rescore(
        found,
        lowest,
        index.documents,
        scratch.terms.fine,
        index.inverse_fine_scale,
        scratch.result,
        settings.k,
    )
    scratch.stats[3] = n
    return size


@jit
def find_exact(query, index, settings, allowed, chosen, scale, slack, scratch):
    """Fill the result heap from every block whose bound reaches the k-th score; return its size.

    Parameters are those of `find_approximate`; the bounds are in units of `scale`, and `slack` is
    added to each.
    """
    bounds = scratch.bounds
    candidates = scratch.candidates
    lowest = np.int64(0) if slack > 0 else np.int64(1)
    size = 0
    least = lowest
    if len(chosen) == 0:
        least = threshold_for(bounds, settings.max_blocks, np.uint16(1))
    below = np.int64(NO_BOUND)
    while True:
        if len(chosen) > 0:
            n = collect_chosen(bounds, chosen, least, below, 0, candidates)
        else:
            n = collect_blocks(bounds, least, below, 0, candidates)
        order_blocks(candidates, n)
        scratch.stats[0] += n
        size = visit_fine(
            candidates,
            n,
            slack,
            scale,
            index.documents,
            scratch.terms.fine,
            allowed,
            index.inverse_fine_scale,
            scratch.result,
            size,
            settings.k,
            scratch.stats,
        )
        if least <= lowest:
            break
        below = least
        least = lowest
        if size == settings.k:
            bar = kth_units(scratch.result, scale, index.inverse_fine_scale)
            least = max(lowest, bar - slack)
            if least >= below:
                break
    return size


@jit
def is_proven(bounds, found, scale, inverse_fine_scale, result):
    """Return whether no block but the visited ones has a bound that reaches the k-th score.

    Clears the bounds of the visited blocks.
    """
    row_bytes = len(bounds.blocks) >> 1
    for i in range(U(found.state[2])):
        bounds.blocks[slot_of(found.blocks[i], row_bytes)] = 0
    bar = kth_units(result, scale, inverse_fine_scale)
    bar = min(max(bar, np.int64(1)), np.int64(65535))
    return count_from(bounds.blocks, np.uint16(bar)) == 0


@jit
def clustered_search(
    index_arrays,
    query_terms,
    query_weights,
    setting,
    allowed,
    chosen,
    scratch_arrays,
    out_rows,
    out_score_bits,
):
    """Write the best `k` rows of one query and return how many there are.

    Parameters
    ----------
    index_arrays : tuple
        As `kernels_arrays.Index`, all of it plain tuples.
    query_terms, query_weights : int32, float32, shape (nnz,)
    setting : tuple
        As `kernels_arrays.Settings`.
    allowed : uint64, shape (ceil(n_documents / 64),) or (0,)
        Row bitmap; empty where every row may be a result.
    chosen : uint32, shape (n,)
        The only blocks with allowed rows where they are few, else empty.
    scratch_arrays : tuple
        As `kernels_arrays.Scratch`, all of it plain tuples.
    out_rows, out_score_bits : int32, shape (>= k,)
        Written.
    """
    query = Query(query_terms, query_weights)
    index = name_index(index_arrays)
    settings = Settings(*setting)
    scratch = name_scratch(scratch_arrays)
    stats = scratch.stats
    stats[:] = 0
    coarse_scale = set_query(query, scratch.terms.coarse, scratch.terms.fine)
    if coarse_scale == 0:
        return 0
    size = 0
    stats[4] = 1
    if settings.mode != 1:
        stats[4] = 0
        size = find_approximate(query, index, settings, allowed, chosen, coarse_scale, scratch)
    # Documents that hold only terms left out, or next to nothing of the others, may be results
    # where an approximate search finds too few: the exact pass finds all.
    exact = settings.mode == 1 or size < settings.k
    bound = largest_score(query, np.float32(0), index.blocks.term_max)
    if bound > 0 and (exact or settings.mode == 2):
        scale = bound_scale(len(query.terms), bound)
        slack = np.int64(np.ceil(left_out(query, index.blocks.term_max) * scale))
        bound_blocks(query, index.blocks, scale, scratch.terms, scratch.bounds)
        if exact:
            stats[4] = 1
            size = find_exact(query, index, settings, allowed, chosen, scale, slack, scratch)
        elif slack == 0:
            proven = is_proven(
                scratch.bounds, scratch.found, scale, index.inverse_fine_scale, scratch.result
            )
            stats[4] = np.int64(proven)
    clear_query(query, scratch.terms.coarse, scratch.terms.fine)
    heap_drain(scratch.result.heap, size, out_rows, out_score_bits)
    return size
