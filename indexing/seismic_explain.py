"""Which shortcut of a Seismic search kept a document out: its terms, its postings, its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.config_seismic import SeismicParams
from indexing.forward import ForwardIndex
from lsr.core.sparse import Int64Array, SparseVector

__all__ = ["find_shortcut"]


def find_shortcut(
    arrays: Mapping[str, NDArray[Any]],
    forward: ForwardIndex,
    query: SparseVector,
    row: int,
    params: SeismicParams,
    *,
    visited: bool,
) -> tuple[str, str]:
    """Return the reason, and a clause with its figures.

    Parameters
    ----------
    arrays : mapping
        Of the lists; see `indexing.seismic_build`.
    forward : ForwardIndex
    query : SparseVector
    row : int
        Of a document that is not in the result though its score is high enough.
    params : SeismicParams
    visited : bool
        Whether the search scored the document.
    """
    terms = query.terms[np.argsort(-query.weights, kind="stable")[: params.query_cut]]
    mine = forward.document(row).terms
    shared = np.intersect1d(terms, mine)
    if not len(shared):
        return "terms_cut", (
            f"the search looks only at the lists of the query's {len(terms)} heaviest terms "
            f"(query_cut = {params.query_cut}), and it has none of them."
        )
    blocks = [_block_of(arrays, int(term), row) for term in shared]
    kept = [(int(term), block) for term, block in zip(shared, blocks, strict=True) if block >= 0]
    if not kept:
        return "postings_pruned", (
            f"its weights are too small for the pruned lists of the {len(shared)} query terms "
            "that it shares with the search."
        )
    if not visited:
        return "block_not_visited", (
            f"its {len(kept)} blocks came after the search had stopped: their best estimate is "
            f"{_best_estimate(arrays, kept, query):.4g} (heap_factor = {params.heap_factor})."
        )
    return "not_scored_again", (
        "its 8-bit score fell too far behind that of others by rounding "
        f"(rescore_share = {params.rescore_share})."
    )


def _block_of(arrays: Mapping[str, NDArray[Any]], term: int, row: int) -> int:
    """Return the block (of all lists) that holds a row in a term's list, or -1."""
    first, last = arrays["blocks_of_list"][term : term + 2].tolist()
    starts: Int64Array = arrays["block_starts"][first : last + 1]
    here = np.flatnonzero(arrays["postings"][starts[0] : starts[-1]] == row)
    if not len(here):
        return -1
    block: int = first + int(np.searchsorted(starts, starts[0] + here[0], side="right")) - 1
    return block


def _best_estimate(
    arrays: Mapping[str, NDArray[Any]], kept: list[tuple[int, int]], query: SparseVector
) -> float:
    """Return the greatest estimate of some blocks, in the units of scores of bytes."""
    in_bytes = np.floor(query.weights / query.weights.max() * 255 + 0.5)
    best = 0.0
    for term, block in kept:
        local = block - int(arrays["blocks_of_list"][term])
        first, last = arrays["list_components"][term : term + 2].tolist()
        components = arrays["components"][first:last].astype(np.int64)
        total = 0.0
        for c in np.flatnonzero(np.isin(components, query.terms)).tolist():
            ends = arrays["component_offsets"][first + c + term : first + c + term + 2]
            here = slice(*(int(arrays["entry_pointers"][term]) + ends.astype(np.int64)).tolist())
            weights = arrays["entry_weights"][here][arrays["entry_blocks"][here] == local]
            weight = in_bytes[np.searchsorted(query.terms, components[c])]
            total += float(weight) * int(weights.sum(dtype=np.int64))
        best = max(best, total)
    return best
