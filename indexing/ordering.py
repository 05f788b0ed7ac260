"""Which documents are neighbours: one order in which similar documents stand together.

Rows are projected to a few Gaussian dimensions (terms weighted by idf, unit length, 8 bits), then
split recursively into balanced halves by 2-means, down to small runs; inside a run,
`regroup` orders rows by exact cosine. Every sum that decides a split is a sum of integers,
and the pieces that threads work on depend on the collection alone: the order is the same for a
seed whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexing import kernels_ordering as kernels
from indexing.jit import read_only
from indexing.kernels_regrouping import regroup_run
from indexing.source import RowSource, row_chunks
from indexing.threads import run_parallel
from lsr.core.sparse import Float32Array, Int32Array, Int64Array, SparseMatrix

__all__ = ["cluster_order", "inverse_frequencies", "project", "regroup"]

PROJECT_ROWS = 8_192
"""Rows that are projected at a time."""

TASK_ROWS = 65_536
"""Segments above are split by all threads together, those below are one task each."""

N_SAMPLE = 4_096
"""Points that a split looks at to find its direction."""

Int8Array = NDArray[np.int8]


def inverse_frequencies(frequencies: Int64Array, n_documents: int) -> Float32Array:
    """Return ``log(1 + N / (1 + df))`` by term: rare terms decide who is a neighbour."""
    idf: Float32Array = np.log1p(n_documents / (1.0 + frequencies)).astype(np.float32)
    return idf


def project(
    source: RowSource,
    idf: Float32Array,
    *,
    n_dimensions: int,
    seed: int,
    n_threads: int,
    advance: Callable[[int], None],
) -> Int8Array:
    """Return the unit-length Gaussian projection of every row, in 8 bits.

    Parameters
    ----------
    source : RowSource
    idf : float32, shape (n_terms,)
    n_dimensions, seed, n_threads : int
    advance : callable
        Called with the number of rows done.

    Returns
    -------
    int8, shape (n_documents, n_dimensions)
    """
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((source.vocabulary_size, n_dimensions), dtype=np.float32)
    directions *= idf[:, None]
    directions = read_only(directions)
    points = np.empty((source.n_documents, n_dimensions), dtype=np.int8)
    # Coordinates have a deviation of 1 / sqrt(n_dimensions); 4 deviations fit in 127.
    scale = np.float32(127 / 4 * np.sqrt(n_dimensions))
    chunks = row_chunks(source, PROJECT_ROWS)
    done = 0
    while batch := [chunk for _, chunk in zip(range(n_threads), chunks, strict=False)]:

        def run(item: int, batch: list[SparseMatrix] = batch, done: int = done) -> None:
            chunk, first = batch[item], done + item * PROJECT_ROWS
            kernels.project_rows(
                read_only(chunk.indptr),
                read_only(chunk.terms),
                read_only(chunk.weights),
                directions,
                np.empty(n_dimensions, dtype=np.float32),
                scale,
                np.empty(n_dimensions, dtype=np.float32),
                points[first : first + chunk.n_rows],
            )

        run_parallel(run, len(batch), n_threads)
        n_rows = sum(chunk.n_rows for chunk in batch)
        done += n_rows
        advance(n_rows)
    return points


def cluster_order(
    points: Int8Array,
    *,
    leaf: int,
    n_iterations: int,
    seed: int,
    n_threads: int,
    advance: Callable[[int], None],
) -> Int32Array:
    """Return the row at each position of the clustered order.

    Parameters
    ----------
    points : int8, shape (n, n_dimensions)
        The projections; they are permuted into the order.
    leaf : int
        Size of the runs at which splitting ends; halves are multiples of it.
    n_iterations, seed, n_threads : int
    advance : callable
        Called with the number of rows done.

    Returns
    -------
    int32, shape (n,)
    """
    n = len(points)
    order = np.arange(n, dtype=np.int32)
    waiting, tasks = [(0, n)], []
    while waiting:
        start, stop = waiting.pop()
        if stop - start <= TASK_ROWS:
            tasks.append((start, stop))
            continue
        middle = start + _split_together(
            points[start:stop],
            order[start:stop],
            leaf=leaf,
            n_iterations=n_iterations,
            seed=_mixed(seed, start, stop),
            n_threads=n_threads,
        )
        waiting += [(start, middle), (middle, stop)]

    def run(item: int) -> None:
        start, stop = tasks[item]
        size, n_dimensions = stop - start, points.shape[1]
        kernels.bisect_range(
            points[start:stop],
            order[start:stop],
            leaf,
            N_SAMPLE,
            n_iterations,
            np.uint64(_mixed(seed, start, stop)),
            np.empty(max(size, N_SAMPLE), dtype=np.int32),
            np.empty(max(size, N_SAMPLE), dtype=np.int32),
            np.empty((size, n_dimensions), dtype=np.int8),
            np.empty(size, dtype=np.int32),
            np.empty((2, n_dimensions), dtype=np.int64),
            np.empty(n_dimensions, dtype=np.int16),
            np.empty((128, 2), dtype=np.int64),
        )
        advance(size)

    run_parallel(run, len(tasks), n_threads)
    return order


def _mixed(seed: int, start: int, stop: int) -> int:
    """Return a 64-bit state for one segment (splitmix64 of its bounds)."""
    state = (seed * 0x9E3779B97F4A7C15 + start * 0xBF58476D1CE4E5B9 + stop) % 2**64
    state = ((state ^ (state >> 30)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


def _split_together(
    points: Int8Array,
    order: Int32Array,
    *,
    leaf: int,
    n_iterations: int,
    seed: int,
    n_threads: int,
) -> int:
    """Partition a large segment in place; return the size of its first half."""
    n, n_dimensions = points.shape
    direction = np.empty(n_dimensions, dtype=np.int16)
    kernels.split_direction(
        points,
        N_SAMPLE,
        n_iterations,
        np.uint64(seed),
        np.empty(N_SAMPLE, dtype=np.int32),
        np.empty(N_SAMPLE, dtype=np.int32),
        np.empty((2, n_dimensions), dtype=np.int64),
        direction,
    )
    values = np.empty(n, dtype=np.int32)

    def run(item: int) -> None:
        part = slice(item * TASK_ROWS, (item + 1) * TASK_ROWS)
        kernels.project_points(points[part], direction, values[part])

    run_parallel(run, -(-n // TASK_ROWS), n_threads)
    n_low: int = max(1, (n + leaf) // (2 * leaf)) * leaf
    threshold = np.partition(values, n_low)[n_low]
    low = values < threshold
    ties = np.flatnonzero(values == threshold)
    low[ties[: n_low - int(low.sum())]] = True
    # Highs are copied out, lows move up: one half is in memory twice, never the whole.
    for array in (points, order):
        high = array[~low]
        array[:n_low] = array[low]
        array[n_low:] = high
    return n_low


def regroup(matrix: SparseMatrix, *, run: int, group: int, n_threads: int) -> Int32Array:
    """Return an order of the rows that puts like ones into the same `group`, run by run.

    Parameters
    ----------
    matrix : SparseMatrix
        Rows in the clustered order.
    run : int
        Rows stay within their run of this many.
    group, n_threads : int

    Returns
    -------
    int32, shape (n_rows,)
    """
    n = matrix.n_rows
    order = np.empty(n, dtype=np.int32)
    indptr, terms = read_only(matrix.indptr), read_only(matrix.terms)
    weights = read_only(matrix.weights)
    # Some runs a task: the scratch is made once a task.
    task_rows = run * 16

    def work(item: int) -> None:
        dense = np.zeros(matrix.size, dtype=np.float32)
        similarity = np.empty((run, run), dtype=np.float32)
        merged = np.empty((run // group, run // group), dtype=np.float32)
        moved = np.empty((2, run), dtype=np.int32)
        inverse_norms = np.empty(run, dtype=np.float32)
        used = np.empty(run, dtype=np.uint8)
        for start in range(item * task_rows, min(n, (item + 1) * task_rows), run):
            stop = min(n, start + run)
            regroup_run(
                indptr[start : stop + 1],
                terms,
                weights,
                group,
                dense,
                similarity,
                merged,
                inverse_norms,
                used,
                moved,
                order[start:stop],
            )
            order[start:stop] += np.int32(start)

    run_parallel(work, -(-n // task_rows), n_threads)
    return order
