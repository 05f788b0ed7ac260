"""Numba kernels of the first step of a Seismic query: estimate the blocks of its lists, order them.

Rules as in `indexing.kernels`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = ["N_BUCKETS", "estimate_list", "heaviest", "order_blocks"]

U = np.uint64

N_BUCKETS = 1024
"""Estimates are ordered by their ten highest bits; see `order_blocks`."""


@jit
def heaviest(weights, n, order):
    """Write the positions of the `n` greatest weights first; ties go to the lower position.

    Parameters
    ----------
    weights : float32, shape (m,)
    n : int
        At most m.
    order : int64, shape (>= m,)
        Written: a permutation of ``0 … m - 1`` whose first `n` are by weight descending.
    """
    m = len(weights)
    for i in range(m):
        order[i] = i
    for i in range(n):
        best = i
        for j in range(i + 1, m):
            a, b = order[j], order[best]
            if weights[a] > weights[b] or (weights[a] == weights[b] and a < b):
                best = j
        order[i], order[best] = order[best], order[i]


@jit
def estimate_list(
    term,
    query_terms,
    coarse_query,
    list_components,
    components,
    component_offsets,
    entry_pointers,
    entry_blocks,
    entry_weights,
    estimates,
):
    """Add up the estimates of one list's blocks: query times summaries.

    Parameters
    ----------
    term : int
        The list.
    query_terms : int32, shape (n,)
        Ascending.
    coarse_query : uint8, shape (n_terms,)
    list_components, components, component_offsets, entry_pointers, entry_blocks, entry_weights
        The summaries; see `indexing.seismic`.
    estimates : int32, shape (>= blocks of the list,)
        Zeros; written.
    """
    low = U(list_components[term])
    stop = U(list_components[term + 1])
    base = U(entry_pointers[term])
    # A list has one offset more than components.
    shift = U(term)
    for j in range(U(len(query_terms))):
        component = query_terms[j]
        weight = np.int32(coarse_query[U(component)])
        if weight == 0:
            continue
        n = stop - low
        while n > U(0):
            half = n >> U(1)
            if components[low + half] < component:
                low += half + U(1)
                n -= half + U(1)
            else:
                n = half
        if low == stop:
            break
        if components[low] == component:
            first = base + U(component_offsets[low + shift])
            last = base + U(component_offsets[low + shift + U(1)])
            for i in range(first, last):
                estimates[U(entry_blocks[i])] += weight * np.int32(entry_weights[i])


@jit
def order_blocks(estimates, n, order, counts):
    """Write the positions of `estimates` by their ten highest bits, descending and stable.

    Parameters
    ----------
    estimates : int32, shape (>= n,)
    n : int
    order : int32, shape (>= n,)
        Written.
    counts : int64, shape (N_BUCKETS + 1,)
        Scratch.
    """
    high = np.int32(1)
    for i in range(U(n)):
        high = max(high, estimates[i])
    shift = np.int32(0)
    while (high >> shift) >= N_BUCKETS:
        shift += np.int32(1)
    counts[:] = 0
    for i in range(U(n)):
        counts[U(N_BUCKETS - (estimates[i] >> shift))] += 1
    for bucket in range(U(1), U(N_BUCKETS + 1)):
        counts[bucket] += counts[bucket - U(1)]
    for i in range(U(n)):
        bucket = U(N_BUCKETS - 1 - (estimates[i] >> shift))
        order[U(counts[bucket])] = np.int32(i)
        counts[bucket] += 1
