"""The kernels of the document order in plain numpy: same names, arguments and results.

Scratch arguments are taken and ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "bisect_range",
    "copy_rows",
    "group_alike",
    "merge_alike",
    "project_points",
    "project_rows",
    "regroup_run",
    "scramble",
    "split_direction",
]

Array = Any


def project_rows(
    indptr: Array,
    terms: Array,
    weights: Array,
    directions: Array,
    norms: Array,
    scale: Any,
    row_buffer: Array,
    out: Array,
) -> None:
    """Write the unit-length projections of rows, in 8 bits."""
    for row in range(len(indptr) - 1):
        here = slice(indptr[row], indptr[row + 1])
        point = weights[here].astype(np.float64) @ directions[terms[here]].astype(np.float64)
        length = np.sqrt((point**2).sum())
        if length > 0:
            point = point * (float(scale) / length)
        out[row] = np.clip(np.rint(point), -127, 127)


def project_points(points: Array, direction: Array, out: Array) -> None:
    """Write the inner product of every point with `direction`."""
    out[:] = points.astype(np.int64) @ direction.astype(np.int64)


def scramble(state: int) -> int:
    """Return the next state of a xorshift generator."""
    for _ in range(3):
        state ^= state << 13 & 2**64 - 1
        state ^= state >> 7
        state ^= state << 17 & 2**64 - 1
    return state


def _low_half(values: Array, n_low: int) -> Array:
    """Return which values are among the `n_low` smallest; of equal ones, the first."""
    low = np.zeros(len(values), dtype=bool)
    low[np.argsort(values, kind="stable")[:n_low]] = True
    return low


def split_direction(
    points: Array,
    n_sample: int,
    n_iterations: int,
    state: Any,
    sample: Array,
    values: Array,
    sums: Array,
    direction: Array,
) -> None:
    """Find the direction that splits points into two balanced clusters (2-means, median cut)."""
    n = len(points)
    m = min(n_sample, n)
    state = scramble(int(state))
    first = (state >> 33) % n
    state = scramble(state)
    second = (first + 1 + (state >> 33) % (n - 1)) % n
    direction[:] = points[first].astype(np.int16) - points[second]
    rows = points[np.arange(m) * n // m].astype(np.int64)
    half = m // 2
    for _ in range(n_iterations):
        low = _low_half(rows @ direction.astype(np.int64), half)
        difference = rows[~low].sum(axis=0) * half - rows[low].sum(axis=0) * (m - half)
        direction[:] = difference * 8191 // max(1, int(abs(difference).max()))


def bisect_range(
    points: Array,
    order: Array,
    leaf: int,
    n_sample: int,
    n_iterations: int,
    seed: Any,
    projections: Array,
    values: Array,
    point_buffer: Array,
    order_buffer: Array,
    sums: Array,
    direction: Array,
    stack: Array,
) -> None:
    """Order points by recursive balanced bisection, down to runs of `leaf`."""
    waiting = [(0, len(order))]
    while waiting:
        start, stop = waiting.pop()
        n = stop - start
        if n <= leaf:
            continue
        state = scramble((int(seed) ^ start << 32 ^ stop) | 1)
        here = points[start:stop]
        split_direction(here, n_sample, n_iterations, state, values, values, sums, direction)
        n_low = max(1, (n + leaf) // (2 * leaf)) * leaf
        low = _low_half(here.astype(np.int64) @ direction.astype(np.int64), n_low)
        moved = np.concatenate([np.flatnonzero(low), np.flatnonzero(~low)])
        points[start:stop] = here[moved]
        order[start:stop] = order[start:stop][moved]
        waiting += [(start, start + n_low), (start + n_low, stop)]


def group_alike(
    similarity: Array, n: int, group: int, used: Array, total: Array, out: Array
) -> None:
    """Order `n` items so that each `group` of them is alike, greedily."""
    left = list(range(n))
    placed: list[int] = []
    while left:
        pairs = [(-similarity[i, j], i, j) for i in left for j in left if i < j]
        members = list(min(pairs)[1:]) if pairs and group > 1 else [left[0]]
        left = [item for item in left if item not in members]
        while left and len(members) < group:
            best = max(left, key=lambda item: (similarity[members, item].sum(), -item))
            members.append(best)
            left.remove(best)
        placed += members
    out[:n] = placed


def merge_alike(similarity: Array, n: int, group: int, order: Array, merged: Array) -> None:
    """Write the similarity of whole groups of consecutive items: the sum over their pairs."""
    n_groups = n // group
    items = order[: n_groups * group].reshape(n_groups, group)
    for g, h in np.ndindex(n_groups, n_groups):
        merged[g, h] = 0 if g == h else similarity[np.ix_(items[g], items[h])].sum()


def regroup_run(
    indptr: Array,
    terms: Array,
    weights: Array,
    group: int,
    dense: Array,
    similarity: Array,
    merged: Array,
    inverse_norms: Array,
    used: Array,
    order: Array,
    out: Array,
) -> None:
    """Order the rows of one run: groups of like rows, then groups of like groups, to the top."""
    n = len(indptr) - 1
    vectors = np.zeros((n, len(dense)))
    for row in range(n):
        here = slice(indptr[row], indptr[row + 1])
        vectors[row, terms[here]] = weights[here]
    lengths = np.linalg.norm(vectors, axis=1)
    vectors /= np.where(lengths > 0, lengths, 1)[:, None]
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, 0)
    group_alike(cosine, n, group, used, inverse_norms, out)
    size = group
    while group > 1 and n // size > group:
        whole = n // size
        sums = np.zeros((whole, whole))
        merge_alike(cosine, whole * size, size, out, sums)
        moved = np.empty(whole, dtype=np.int64)
        group_alike(sums, whole, group, used, inverse_norms, moved)
        out[: whole * size] = out[: whole * size].reshape(whole, size)[moved].reshape(-1)
        size *= group


def copy_rows(
    indptr: Array,
    terms: Array,
    weights: Array,
    positions: Array,
    first: int,
    last: int,
    out_indptr: Array,
    out_terms: Array,
    out_weights: Array,
) -> None:
    """Copy the rows whose position lies in ``first:last`` to where it says."""
    for row in np.flatnonzero((positions >= first) & (positions < last)):
        here = slice(indptr[row], indptr[row + 1])
        at = out_indptr[positions[row] - first]
        out_terms[at : at + here.stop - here.start] = terms[here]
        out_weights[at : at + here.stop - here.start] = weights[here]
