"""Hard negatives: what a teacher, or BM25 in our own index, ranks high and is not the answer.

For every query the nearest passages of the whole training collection, less its known positives
and less those whose score comes too near the positive's (likely answers nobody marked). One
artefact: rows of passages, -1 where there are fewer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.core.artifact import check_artifact, open_array, read_manifest, write_artifact
from lsr.core.config import config_hash
from lsr.core.console import progress_bar
from lsr.core.manifest import Manifest
from lsr.training.candidates import CandidateSearch
from lsr.training.config import NegativesConfig
from lsr.training.pair_table import PairTable

__all__ = [
    "NEGATIVES_FORMAT",
    "filter_candidates",
    "merge_lists",
    "mine_negatives",
    "open_negatives",
]

NEGATIVES_FORMAT = 1
_KIND = "training-negatives"
_log = logging.getLogger(__name__)


def open_negatives(path: Path) -> NDArray[np.int32]:
    """Return the passages, int32, shape (n_queries, depth), best first, -1 padded."""
    manifest = read_manifest(path, kind=_KIND, format_version=NEGATIVES_FORMAT)
    check_artifact(path, manifest)
    return open_array(path, "passages", manifest)


def filter_candidates(
    candidates: NDArray[np.int64],
    scores: NDArray[np.float32],
    positive: NDArray[np.int64],
    positive_scores: NDArray[np.float32],
    *,
    depth: int,
    margin: float,
) -> NDArray[np.int32]:
    """Return at most `depth` negatives a query, best first, -1 padded.

    Parameters
    ----------
    candidates, scores : shape (n, m)
        Nearest passages, best first, and their scores.
    positive : int64, shape (n, p)
        Known positives of each query, -1 padded.
    positive_scores : float32, shape (n,)
        The lowest score of a query's positives.
    depth : int
        Width of the result.
    margin : float
        A candidate with a score above ``margin × positive_scores`` is dropped.
    """
    known = (candidates[:, :, None] == positive[:, None, :]).any(axis=2)
    keep = ~known & (candidates >= 0) & (scores <= margin * positive_scores[:, None])
    # A stable sort brings the kept ones to the front in their order.
    order = np.argsort(~keep, axis=1, kind="stable")[:, :depth]
    chosen = np.take_along_axis(np.where(keep, candidates, -1), order, axis=1)
    out = np.full((len(candidates), depth), -1, dtype=np.int32)
    out[:, : chosen.shape[1]] = chosen
    return out


def mine_negatives(
    config: NegativesConfig,
    pairs: PairTable,
    searches: Sequence[CandidateSearch],
    out: Path,
    *,
    overwrite: bool = False,
) -> NDArray[np.int32]:
    """Search every query among all passages; write and return the negatives.

    Parameters
    ----------
    config : NegativesConfig
        Depth and margin.
    pairs : PairTable
        Queries, passages, known positives.
    searches : sequence of CandidateSearch
        One for each of ``config.teachers``. Each filters by its own scores; their lists are then
        merged rank by rank.
    out : Path
        The new artefact.
    overwrite : bool
        Replace what stands at `out`.
    """
    positives = _known_positives(pairs)
    # Held-out queries too: their figures must be as hard as the training's.
    known = np.concatenate([pairs.pairs[:, 0], pairs.held_out[:, 0]])
    queries = np.unique(known).astype(np.int64)
    result = np.full((len(pairs.queries), config.depth), -1, dtype=np.int32)
    m = min(config.depth * 2 + positives.shape[1], len(pairs.passages))
    size = min(search.batch for search in searches)
    with progress_bar("negatives", total=len(queries), unit="queries") as advance:
        for start in range(0, len(queries), size):
            rows = queries[start : start + size]
            lists = []
            for search in searches:
                candidates, scores = search.search(rows, m)
                lists.append(
                    filter_candidates(
                        candidates,
                        scores,
                        positives[rows],
                        search.score(rows, positives[rows]).min(axis=1),
                        depth=config.depth,
                        margin=config.margin,
                    )
                )
            result[rows] = merge_lists(lists, config.depth)
            advance(len(rows))
    found = (result[queries] >= 0).sum(axis=1)
    details = {"mean_negatives": float(found.mean()), "queries_without": int((found == 0).sum())}
    manifest = Manifest.new(
        _KIND,
        NEGATIVES_FORMAT,
        details=details,
        config=config.model_dump(mode="json"),
        config_hash=config_hash(config),
    )
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        writer.array("passages", result)
    _log.info(
        "Negatives: %.1f a query, %d queries without: %s",
        details["mean_negatives"], details["queries_without"], out,
    )  # fmt: skip
    return open_negatives(out)


def merge_lists(lists: Sequence[NDArray[np.int32]], depth: int) -> NDArray[np.int32]:
    """Return the lists merged rank by rank, each passage once, at most `depth`, -1 padded."""
    if len(lists) == 1:
        return lists[0]
    mixed = np.stack(lists, axis=2).reshape(len(lists[0]), -1)
    # A passage stays at its first place only: sort by passage, mark the repeats, go back.
    order = np.argsort(mixed, axis=1, kind="stable")
    sorted_ = np.take_along_axis(mixed, order, axis=1)
    repeats = np.zeros_like(mixed, dtype=bool)
    np.put_along_axis(
        repeats, order[:, 1:], (sorted_[:, 1:] == sorted_[:, :-1]) & (sorted_[:, 1:] >= 0), axis=1
    )
    mixed[repeats] = -1
    front = np.argsort(mixed < 0, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(mixed, front, axis=1)


def _known_positives(pairs: PairTable, limit: int = 16) -> NDArray[np.int64]:
    """Return up to `limit` positives of every query, -1 padded."""
    both = np.concatenate([pairs.pairs, pairs.held_out])
    query, passage = both[np.argsort(both[:, 0], kind="stable")].T.astype(np.int64)
    first = np.searchsorted(query, query)
    rank = np.arange(len(query)) - first
    keep = rank < limit
    out = np.full((len(pairs.queries), int(rank[keep].max(initial=0)) + 1), -1, dtype=np.int64)
    out[query[keep], rank[keep]] = passage[keep]
    return out
