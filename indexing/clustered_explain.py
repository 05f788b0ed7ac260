"""Why clustered search did not find a document: which of its shortcuts, with the figures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexing.blocks import BlockMaxima
from indexing.config_clustered import ClusteredParams
from indexing.explain import Reason
from indexing.kernels_geometry import CHUNK_BLOCKS, CHUNK_BYTES, PART_BLOCKS, SUPER_BLOCKS, list_at
from lsr.core.sparse import SparseVector

__all__ = ["block_estimate", "find_shortcut"]


def block_estimate(maxima: BlockMaxima, query: SparseVector, block: int) -> float:
    """Return the upper bound of a block's scores, in units of stored weights.

    Parameters
    ----------
    maxima : BlockMaxima
    query : SparseVector
        Only the terms that choose the blocks.
    block : int
    """
    n_terms, width = len(maxima.term_max), maxima.dense.shape[1]
    chunk, local = divmod(block, CHUNK_BLOCKS)
    start = chunk * CHUNK_BYTES
    high = local // 8 % 2
    byte = local // SUPER_BLOCKS * 8 + local % 8
    slot = byte + high * min(CHUNK_BYTES, width - start)
    total = 0.0
    for term, weight in zip(query.terms.tolist(), query.weights.tolist(), strict=True):
        row = int(maxima.dense_row[term])
        if row >= 0:
            share = (int(maxima.dense[row, start + byte]) >> (4 * high) & 15) / 15
        else:
            at = int(list_at(chunk, min(CHUNK_BYTES, width - start), n_terms, term))
            at += local // PART_BLOCKS
            ends = maxima.list_pointers[at : at + 2].astype(np.int64) + maxima.list_bases[chunk]
            here = slice(int(ends[0]), int(ends[1]))
            there = np.flatnonzero(maxima.list_slots[here] == slot)
            share = float(maxima.list_levels[here][there].sum()) / 255
        total += weight * float(maxima.term_max[term]) * share
    return total


def find_shortcut(
    maxima: BlockMaxima,
    query: SparseVector,
    document: SparseVector,
    block: int,
    params: ClusteredParams,
    *,
    threshold: float,
    visited: NDArray[np.uint32],
    unit: float,
) -> tuple[Reason, str]:
    """Return which shortcut kept a document out of a result that it belongs in.

    Parameters
    ----------
    maxima : BlockMaxima
    query, document : SparseVector
    block : int
        The document's.
    params : ClusteredParams
    threshold : float
        Weight from which terms choose the blocks.
    visited : uint32, shape (n,)
        The blocks that the search visited.
    unit : float
        A score of stored weights times this is the true one.
    """
    if params.exact:
        return "not_scored_again", "exact mode ranks another document first: the scores tie."
    used = query.weights >= threshold
    cut = SparseVector(query.terms[used], query.weights[used], query.size)
    if not np.isin(cut.terms, document.terms).any() and block not in visited:
        return (
            "terms_cut",
            (
                f"it holds none of the {cut.nnz} terms (of {query.nnz}) that cover "
                f"{params.query_mass:g} of the query's weight and choose the blocks: raise query_mass."
            ),
        )
    if block not in visited:
        estimate = block_estimate(maxima, cut, block) * unit
        lowest = min((block_estimate(maxima, cut, int(b)) for b in visited), default=0.0) * unit
        return (
            "block_not_visited",
            (
                f"its block of four documents was not among the {len(visited)} visited: the bound of "
                f"its scores over the {cut.nnz} terms that choose blocks is {estimate:.6g}, the least "
                f"of a visited block {lowest:.6g}. Raise max_blocks or query_mass."
            ),
        )
    return (
        "not_scored_again",
        (
            f"its 8-bit score was not within rescore_share {params.rescore_share:g} of the k-th: "
            "lower rescore_share."
        ),
    )
