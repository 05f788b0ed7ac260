"""Numba kernels that put like rows into the same block, and like blocks beside each other.

Twins of the same names are in `indexing.reference_ordering`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = ["group_alike", "merge_alike", "regroup_run"]

U = np.uint64


@jit
def group_alike(similarity, n, group, used, total, out):
    """Order `n` items so that each `group` of them is alike, greedily.

    A group starts with the most similar pair left, then takes the item most similar to its
    members, until it is full.

    Parameters
    ----------
    similarity : float32, shape (>= n, >= n)
        Symmetric, at least 0; 0 on the diagonal.
    n, group : int
    used : uint8, shape (>= n,)
        Scratch.
    total : float32, shape (>= n,)
        Scratch.
    out : int32, shape (>= n,)
        The items in their new order.
    """
    n = U(n)
    for i in range(n):
        used[i] = 0
    placed = U(0)
    while placed < n:
        best = np.float32(-1)
        seed = n
        mate = n
        for i in range(n):
            if used[i]:
                continue
            if seed == n:
                seed = i
            for j in range(i + U(1), n):
                if not used[j] and similarity[i, j] > best:
                    best = similarity[i, j]
                    seed = i
                    mate = j
        used[seed] = 1
        out[placed] = np.int32(seed)
        placed += U(1)
        for j in range(n):
            total[j] = similarity[seed, j]
        for _ in range(1, group):
            if placed == n:
                break
            if mate == n:
                best = np.float32(-1)
                for j in range(n):
                    if not used[j] and total[j] > best:
                        best = total[j]
                        mate = j
            used[mate] = 1
            out[placed] = np.int32(mate)
            placed += U(1)
            for j in range(n):
                total[j] += similarity[mate, j]
            mate = n


@jit
def merge_alike(similarity, n, group, order, merged):
    """Write the similarity of whole groups of consecutive items: the sum over their pairs.

    Parameters
    ----------
    similarity : float32, shape (>= n, >= n)
    n, group : int
    order : int32, shape (>= n,)
        Items in the order of the groups.
    merged : float32, shape (>= n // group, >= n // group)
        Written, 0 on the diagonal. May share no memory with `similarity`.
    """
    n_groups = U(n) // U(group)
    for g in range(n_groups):
        merged[g, g] = np.float32(0)
        for h in range(g + U(1), n_groups):
            total = np.float32(0)
            for i in range(U(group)):
                row = similarity[U(order[g * U(group) + i])]
                for j in range(U(group)):
                    total += row[U(order[h * U(group) + j])]
            merged[g, h] = total
            merged[h, g] = total


@jit
def regroup_run(
    indptr, terms, weights, group, dense, similarity, merged, inverse_norms, used, order, out
):
    """Order the rows of one run: groups of like rows, then groups of like groups, to the top.

    Parameters
    ----------
    indptr : int64, shape (n + 1,)
    terms : int32, shape (nnz,)
    weights : float32, shape (nnz,)
    group : int
        Rows a group, and groups a group of the next level.
    dense : float32, shape (n_terms,)
        Scratch, zeros before and after.
    similarity, merged : float32, shape (>= n, >= n), (>= n // group, >= n // group)
        Scratch.
    inverse_norms : float32, shape (>= n,)
        Scratch.
    used : uint8, shape (>= n,)
        Scratch.
    order : int32, shape (2, >= n)
        Scratch.
    out : int32, shape (n,)
        The positions within the run, in the new order.
    """
    n = U(len(indptr) - 1)
    for i in range(n):
        square = np.float32(0)
        for p in range(U(indptr[i]), U(indptr[i + U(1)])):
            dense[U(terms[p])] = weights[p]
            square += weights[p] * weights[p]
        inverse_norms[i] = np.float32(0)
        if square > 0:
            inverse_norms[i] = np.float32(1) / np.sqrt(square)
        for j in range(i + U(1), n):
            dot = np.float32(0)
            for p in range(U(indptr[j]), U(indptr[j + U(1)])):
                dot += dense[U(terms[p])] * weights[p]
            similarity[i, j] = dot
        for p in range(U(indptr[i]), U(indptr[i + U(1)])):
            dense[U(terms[p])] = np.float32(0)
        similarity[i, i] = np.float32(0)
    for i in range(n):
        for j in range(i + U(1), n):
            cosine = similarity[i, j] * inverse_norms[i] * inverse_norms[j]
            similarity[i, j] = cosine
            similarity[j, i] = cosine
    # The norms are used up; their memory serves on.
    group_alike(similarity, n, group, used, inverse_norms, out)
    size = U(group)
    # Groups of groups: only whole ones move, so that groups stay aligned.
    while group > 1 and n // size > U(group):
        whole = n // size
        merge_alike(similarity, whole * size, size, out, merged)
        group_alike(merged, whole, group, used, inverse_norms, order[0])
        for g in range(whole):
            for i in range(size):
                order[1, g * size + i] = out[U(order[0, g]) * size + i]
        for i in range(whole * size):
            out[i] = order[1, i]
        size *= U(group)
