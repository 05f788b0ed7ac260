"""The build of the clustered layout: order, forward index, block maxima; streaming, threaded."""

from __future__ import annotations

import logging
import time

import numpy as np

from indexing.blocks import BlockMaxima, build_blocks
from indexing.clustered_parts import ClusteredParts
from indexing.config_clustered import ClusteredLayout
from indexing.forward import Allocate, build_forward
from indexing.jit import read_only
from indexing.kernels_geometry import BLOCK_ROWS
from indexing.ordering import cluster_order, inverse_frequencies, project
from indexing.quantization import Quantization
from indexing.reordering import ReorderedSource
from indexing.source import RowSource
from lsr.core.console import progress_bar
from lsr.core.sparse import Int32Array, Int64Array

__all__ = ["build_parts"]

logger = logging.getLogger(__name__)


def build_parts(
    source: RowSource,
    allocate: Allocate,
    layout: ClusteredLayout,
    *,
    seed: int,
    n_threads: int,
) -> ClusteredParts:
    """Fill new arrays with the clustered index of `source`.

    Beside the arrays themselves it holds the projections (``n_dimensions`` bytes a document) or,
    later, one range of rows (`indexing.reordering.RANGE_POSTINGS`) in memory.
    """
    n = source.n_documents
    started = time.perf_counter()
    frequencies, lengths, largest = _survey(source)
    with progress_bar("Projecting", n, unit="documents") as advance:
        points = project(
            source,
            inverse_frequencies(frequencies, n),
            n_dimensions=layout.n_dimensions,
            seed=seed,
            n_threads=n_threads,
            advance=advance,
        )
    with progress_bar("Ordering", n, unit="documents") as advance:
        order = cluster_order(
            points,
            leaf=layout.regroup_rows or BLOCK_ROWS,
            n_iterations=layout.n_iterations,
            seed=seed,
            n_threads=n_threads,
            advance=advance,
        )
    del points
    ordered = time.perf_counter()
    reordered = ReorderedSource(
        source,
        order,
        lengths,
        regroup_rows=layout.regroup_rows,
        group=BLOCK_ROWS,
        n_threads=n_threads,
    )
    forward = build_forward(
        reordered, allocate, n_threads=n_threads, quantization=Quantization(largest)
    )
    forwarded = time.perf_counter()
    levels = {"blocks": BLOCK_ROWS}
    wide_rows = layout.wide_rows_for(n)
    if wide_rows:
        levels["wide"] = wide_rows
    made = {}
    for level, block_rows in levels.items():
        with progress_bar(f"Maxima ({level})", 2 * -(-n // block_rows), unit="blocks") as advance:
            made[level] = build_blocks(
                forward,
                allocate,
                level=level,
                block_rows=block_rows,
                dense_share=layout.dense_share,
                n_threads=n_threads,
                advance=advance,
            )
    document_rows = allocate("document_rows", np.int32, (n,))
    document_rows[:] = order
    positions = allocate("positions", np.int32, (n,))
    positions[order] = np.arange(n, dtype=np.int32)
    logger.info(
        "Clustered %s documents: order %.1f s, regrouping and forward index %.1f s, "
        "block maxima %.1f s",
        f"{n:,}",
        ordered - started,
        forwarded - ordered,
        time.perf_counter() - forwarded,
    )
    return ClusteredParts(
        read_only(np.asarray(document_rows)),
        read_only(np.asarray(positions)),
        forward,
        made["blocks"],
        made.get("wide") or BlockMaxima.nothing(),
        wide_rows,
    )


def _survey(source: RowSource) -> tuple[Int64Array, Int32Array, float]:
    """Return document frequencies by term, lengths by row, and the largest weight (1 if none)."""
    frequencies = np.zeros(source.vocabulary_size, dtype=np.int64)
    lengths = np.empty(source.n_documents, dtype=np.int32)
    largest, row = 0.0, 0
    for shard in source.shards():
        frequencies += np.bincount(shard.terms, minlength=source.vocabulary_size)
        lengths[row : row + shard.n_rows] = np.diff(shard.indptr)
        largest = max(largest, float(shard.weights.max(initial=0.0)))
        row += shard.n_rows
    return frequencies, lengths, largest or 1.0
