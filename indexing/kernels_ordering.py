"""Numba kernels of the document order: projection, balanced bisection, regrouping.

All sums that decide a split are sums of integers, so the order does not depend on the threads, nor
on how the compiler vectorises them. Twins of the same names are in `indexing.reference_ordering`.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = [
    "bisect_range",
    "copy_rows",
    "project_points",
    "project_rows",
    "split_direction",
]

U = np.uint64


@jit
def project_rows(indptr, terms, weights, directions, norms, scale, row_buffer, out):
    """Write the unit-length projections of rows, in 8 bits.

    Parameters
    ----------
    indptr : int64, shape (n + 1,)
    terms : int32, shape (nnz,)
    weights : float32, shape (nnz,)
    directions : float32, shape (n_terms, n_dimensions)
        One Gaussian direction a term, scaled by the term's idf.
    norms : float32, shape (n_dimensions,)
        Scratch.
    scale : float
        A coordinate of a unit vector times `scale` is rounded and clipped to [-127, 127].
    row_buffer : float32, shape (n_dimensions,)
        Scratch.
    out : int8, shape (n, n_dimensions)
    """
    n_dimensions = U(directions.shape[1])
    for row in range(U(len(indptr) - 1)):
        for x in range(n_dimensions):
            row_buffer[x] = 0.0
        for p in range(U(indptr[row]), U(indptr[row + U(1)])):
            direction = directions[U(terms[p])]
            weight = weights[p]
            for x in range(n_dimensions):
                row_buffer[x] += weight * direction[x]
        for x in range(n_dimensions):
            norms[x] = row_buffer[x] * row_buffer[x]
        square = np.float32(0)
        for x in range(n_dimensions):
            square += norms[x]
        factor = np.float32(0)
        if square > 0:
            factor = np.float32(scale) / np.sqrt(square)
        for x in range(n_dimensions):
            value = np.rint(row_buffer[x] * factor)
            out[row, x] = np.int8(min(max(value, np.float32(-127)), np.float32(127)))


@jit
def project_points(points, direction, out):
    """Write the inner product of every point with `direction`.

    Parameters
    ----------
    points : int8, shape (n, n_dimensions)
    direction : int16, shape (n_dimensions,)
    out : int32, shape (n,)
    """
    n_dimensions = U(points.shape[1])
    for i in range(U(len(points))):
        point = points[i]
        total = np.int32(0)
        for x in range(n_dimensions):
            total += np.int32(point[x]) * np.int32(direction[x])
        out[i] = total


@jit
def scramble(state):
    """Return the next state of a xorshift generator; by shifts alone, which never overflow."""
    for _ in range(3):
        state ^= state << U(13)
        state ^= state >> U(7)
        state ^= state << U(17)
    return state


@jit
def split_direction(points, n_sample, n_iterations, state, sample, values, sums, direction):
    """Find the direction that splits points into two balanced clusters (2-means, median cut).

    Starts from the difference of two random points; each iteration cuts a sample at the median of
    its projections and takes the difference of the halves' means.

    Parameters
    ----------
    points : int8, shape (n, n_dimensions)
        At least two.
    n_sample : int
        At most this many points, evenly spaced, are looked at.
    n_iterations : int
    state : uint64
        Random state; the same gives the same direction.
    sample : int32, shape (>= n_sample,)
        Scratch.
    values : int32, shape (>= n_sample,)
        Scratch.
    sums : int64, shape (2, n_dimensions)
        Scratch.
    direction : int16, shape (n_dimensions,)
        The result.
    """
    n = U(len(points))
    n_dimensions = U(points.shape[1])
    m = min(U(n_sample), n)
    state = scramble(state)
    first = (state >> U(33)) % n
    state = scramble(state)
    second = (first + U(1) + (state >> U(33)) % (n - U(1))) % n
    for x in range(n_dimensions):
        direction[x] = np.int16(points[first, x]) - np.int16(points[second, x])
    for _ in range(n_iterations):
        for i in range(m):
            point = points[i * n // m]
            total = np.int32(0)
            for x in range(n_dimensions):
                total += np.int32(point[x]) * np.int32(direction[x])
            sample[i] = total
            values[i] = total
        # Median by quickselect; ties go to the low half until it is full.
        half = m >> U(1)
        median = select_rank(values, m, half)
        n_below = U(0)
        for i in range(m):
            n_below += U(sample[i] < median)
        ties_low = half - n_below
        for x in range(n_dimensions):
            sums[0, x] = 0
            sums[1, x] = 0
        for i in range(m):
            side = U(1)
            if sample[i] < median:
                side = U(0)
            elif sample[i] == median and ties_low > U(0):
                side = U(0)
                ties_low -= U(1)
            point = points[i * n // m]
            for x in range(n_dimensions):
                sums[side, x] += np.int64(point[x])
        largest = np.int64(1)
        for x in range(n_dimensions):
            # Means compared without division: multiply by the other half's size.
            difference = sums[1, x] * np.int64(half) - sums[0, x] * np.int64(m - half)
            sums[0, x] = difference
            largest = max(largest, abs(difference))
        for x in range(n_dimensions):
            # |direction| <= 2^14 and |point| <= 2^7: 512 dimensions fit in int32.
            direction[x] = np.int16((sums[0, x] * np.int64(8191)) // largest)


@jit
def select_rank(values, n, rank):
    """Return the value of 0-based `rank` among ``values[:n]`` (reordered): quickselect."""
    low = np.int64(0)
    high = np.int64(n) - 1
    target = np.int64(rank)
    while low < high:
        middle = values[U((low + high) >> 1)]
        i = low
        j = high
        while i <= j:
            while values[U(i)] < middle:
                i += 1
            while values[U(j)] > middle:
                j -= 1
            if i <= j:
                kept = values[U(i)]
                values[U(i)] = values[U(j)]
                values[U(j)] = kept
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return values[U(target)]


@jit
def bisect_range(
    points,
    order,
    leaf,
    n_sample,
    n_iterations,
    seed,
    projections,
    values,
    point_buffer,
    order_buffer,
    sums,
    direction,
    stack,
):
    """Order points by recursive balanced bisection, down to runs of `leaf`.

    Both `points` and `order` are permuted in place. Halves are multiples of `leaf`.

    Parameters
    ----------
    points : int8, shape (n, n_dimensions)
    order : int32, shape (n,)
    leaf, n_sample, n_iterations : int
    seed : uint64
    projections, values : int32, shape (n,)
    point_buffer : int8, shape (n, n_dimensions)
    order_buffer : int32, shape (n,)
    sums : int64, shape (2, n_dimensions)
    direction : int16, shape (n_dimensions,)
    stack : int64, shape (128, 2)
        Scratch.
    """
    n_dimensions = U(points.shape[1])
    depth = 1
    stack[0, 0] = 0
    stack[0, 1] = len(order)
    while depth > 0:
        depth -= 1
        start = stack[depth, 0]
        stop = stack[depth, 1]
        n = stop - start
        if n <= leaf:
            continue
        here = points[start:stop]
        # Never 0, where a xorshift generator would stay.
        state = scramble((U(seed) ^ (U(start) << U(32)) ^ U(stop)) | U(1))
        split_direction(here, n_sample, n_iterations, state, projections, values, sums, direction)
        for i in range(U(n)):
            point = here[i]
            total = np.int32(0)
            for x in range(n_dimensions):
                total += np.int32(point[x]) * np.int32(direction[x])
            projections[i] = total
            values[i] = total
        n_low = max(1, (n + leaf) // (2 * leaf)) * leaf
        threshold = select_rank(values, n, n_low)
        n_below = np.int64(0)
        for i in range(U(n)):
            n_below += np.int64(projections[i] < threshold)
        ties_low = n_low - n_below
        low = U(start)
        high = U(0)
        for i in range(U(n)):
            goes_low = projections[i] < threshold
            if projections[i] == threshold and ties_low > 0:
                goes_low = True
                ties_low -= 1
            # Stable partition: lows move up in place, highs wait in the buffer.
            if goes_low:
                order[low] = order[U(start) + i]
                for x in range(n_dimensions):
                    points[low, x] = here[i, x]
                low += U(1)
            else:
                order_buffer[high] = order[U(start) + i]
                for x in range(n_dimensions):
                    point_buffer[high, x] = here[i, x]
                high += U(1)
        for i in range(high):
            order[low + i] = order_buffer[i]
            for x in range(n_dimensions):
                points[low + i, x] = point_buffer[i, x]
        middle = start + n_low
        stack[depth, 0] = start
        stack[depth, 1] = middle
        stack[depth + 1, 0] = middle
        stack[depth + 1, 1] = stop
        depth += 2


@jit
def copy_rows(indptr, terms, weights, positions, first, last, out_indptr, out_terms, out_weights):
    """Copy the rows whose position lies in ``first:last`` to where it says.

    Parameters
    ----------
    indptr, terms, weights : int64, int32, float32
        The rows.
    positions : int32, shape (n_rows,)
    first, last : int
    out_indptr : int64, shape (last - first + 1,)
    out_terms, out_weights : int32, float32
        Written where rows are copied.
    """
    for row in range(U(len(positions))):
        position = np.int64(positions[row])
        if position < first or position >= last:
            continue
        to = U(out_indptr[U(position - first)])
        for p in range(U(indptr[row]), U(indptr[row + U(1)])):
            out_terms[to] = terms[p]
            out_weights[to] = weights[p]
            to += U(1)
