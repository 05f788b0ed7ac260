"""What the kernels of clustered search take: arrays that belong together, under one name.

The entry kernel gets plain tuples in this order, which numba unpacks twice as fast as named ones;
`name_index` and `name_scratch` name them inside, at no cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from indexing.jit import jit

__all__ = [
    "Candidates",
    "Documents",
    "Found",
    "Index",
    "Maxima",
    "Opened",
    "Query",
    "Result",
    "Scratch",
    "Settings",
    "Sums",
    "Terms",
    "name_index",
    "name_scratch",
]

Array = Any


class Documents(NamedTuple):
    """The forward index in clustered order.

    Attributes
    ----------
    rows : int32, shape (n_documents,)
        Row of each position.
    pointers : int64, shape (n_documents + 1,)
    terms, coarse, fine : uint16 or uint32, uint8, uint16, shape (nnz,)
        See `indexing.forward.ForwardIndex`.
    """

    rows: Array
    pointers: Array
    terms: Array
    coarse: Array
    fine: Array


class Maxima(NamedTuple):
    """The maxima of all blocks; see `indexing.blocks.BlockMaxima`; `dense` in one dimension."""

    term_max: Array
    dense_row: Array
    dense: Array
    list_bases: Array
    list_pointers: Array
    list_slots: Array
    list_levels: Array


class Sums(NamedTuple):
    """A bound or an estimate for each block: uint8 or uint16.

    Attributes
    ----------
    blocks : shape (2 * row_bytes,)
        By chunk, then slot.
    groups, tops : shape (row_bytes // 4,), (row_bytes // 32,)
        Maxima of groups and of groups of groups (`indexing.kernels_geometry.GROUP`), by chunk.
    """

    blocks: Array
    groups: Array
    tops: Array


class Query(NamedTuple):
    """A query's terms.

    Attributes
    ----------
    terms, weights : int32, float32, shape (nnz,)
    """

    terms: Array
    weights: Array


class Terms(NamedTuple):
    """Scratch for the terms of a query.

    Attributes
    ----------
    rows, weights : int64, uint16, shape (MAX_TERMS,)
        Of terms with a dense row.
    tables : uint8, shape (16 * MAX_TERMS,)
        What each level of such a term adds.
    coarse, fine : uint8, float32, shape (n_terms,)
        The query's weights by term; zeros before and after.
    """

    rows: Array
    weights: Array
    tables: Array
    coarse: Array
    fine: Array


class Opened(NamedTuple):
    """Scratch for the super-blocks that a first level selects.

    Attributes
    ----------
    ids : uint32, shape (n_wide + 64,)
        Super-blocks, ascending.
    bits : uint64, shape (ceil(n_super / 64),)
        Zeros before and after.
    parts, firsts : uint32, shape (n_wide + 1,)
        The parts they are in, and the first of each part.
    """

    ids: Array
    bits: Array
    parts: Array
    firsts: Array


class Candidates(NamedTuple):
    """Scratch for the blocks listed to be visited.

    Attributes
    ----------
    blocks, estimates, order : uint32, uint16, uint32, shape (2 * row_bytes,)
        The i-th best is ``blocks[order[i]]``.
    counts : int64, shape (257,)
    """

    blocks: Array
    estimates: Array
    order: Array
    counts: Array


class Found(NamedTuple):
    """Scratch for what an approximate search met.

    Attributes
    ----------
    blocks : uint32, shape (2 * row_bytes,)
        Blocks visited.
    scores, positions : int32, shape (n_documents,)
        Documents scored in 8 bits.
    heap : int32, shape (>= k,)
        The best of these scores.
    state : int64, shape (4,)
        Size of the heap, documents found, blocks visited, whether the heap factor ended it.
    """

    blocks: Array
    scores: Array
    positions: Array
    heap: Array
    state: Array


class Result(NamedTuple):
    """Scratch for the result heap.

    Attributes
    ----------
    heap : uint64, shape (>= k,)
        Keys as in `indexing.kernels`.
    cell, cell_bits : float32, int32, shape (1,)
        The same memory.
    """

    heap: Array
    cell: Array
    cell_bits: Array


class Index(NamedTuple):
    """What is searched.

    Attributes
    ----------
    documents : Documents
    blocks, wide : Maxima
        Those of wide blocks may be empty.
    wide_shift : int
        See `indexing.kernels_opening.super_blocks_of`.
    inverse_fine_scale : float32
        A score of stored weights times this is the true one.
    coarse_unit : float
        Coarse weight of a stored weight of 1.
    """

    documents: Array
    blocks: Array
    wide: Array
    wide_shift: Array
    inverse_fine_scale: Array
    coarse_unit: Array


class Settings(NamedTuple):
    """What is wanted.

    Attributes
    ----------
    k, mode : int
        Mode 0: approximate. 1: exact. 2: approximate, with a certificate.
    mass, heap_factor, max_blocks, max_wide, rescore_share : float or int
        See `indexing.config_clustered.ClusteredParams`.
    """

    k: Array
    mode: Array
    mass: Array
    heap_factor: Array
    max_blocks: Array
    max_wide: Array
    rescore_share: Array


class Scratch(NamedTuple):
    """What a query writes into.

    Attributes
    ----------
    terms : Terms
    bounds : Sums
        Of all blocks, in 16 bits.
    estimates : Sums
        Of as many blocks and the padding of opened super-blocks, in 8 bits.
    wide : Sums
        Of wide blocks, in 8 bits.
    opened : Opened
    candidates : Candidates
    found : Found
    result : Result
    stats : int64, shape (STATS,)
        Written; see `indexing.kernels_clustered.STATS`.
    """

    terms: Array
    bounds: Array
    estimates: Array
    wide: Array
    opened: Array
    candidates: Array
    found: Array
    result: Array
    stats: Array


@jit
def name_index(index: Any) -> Any:
    """Return a tuple of tuples as an `Index`."""
    documents, blocks, wide, wide_shift, inverse_fine_scale, coarse_unit = index
    return Index(
        Documents(*documents),
        Maxima(*blocks),
        Maxima(*wide),
        wide_shift,
        inverse_fine_scale,
        coarse_unit,
    )


@jit
def name_scratch(scratch: Any) -> Any:
    """Return a tuple of tuples as a `Scratch`."""
    terms, bounds, estimates, wide, opened, candidates, found, result, stats = scratch
    return Scratch(
        Terms(*terms),
        Sums(*bounds),
        Sums(*estimates),
        Sums(*wide),
        Opened(*opened),
        Candidates(*candidates),
        Found(*found),
        Result(*result),
        stats,
    )
