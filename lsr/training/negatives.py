"""Hard negatives: what a teacher with vectors ranks high and is not the answer.

For every query the nearest passages of the whole training collection, less its known positives
and less those whose score comes too near the positive's (likely answers nobody marked). One
artefact: rows of passages, -1 where there are fewer.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lsr.core.artifact import check_artifact, open_array, read_manifest, write_artifact
from lsr.core.config import config_hash
from lsr.core.console import progress_bar
from lsr.core.errors import ArgumentError
from lsr.core.manifest import Manifest
from lsr.training.config import NegativesConfig
from lsr.training.pair_table import PairTable
from lsr.training.teachers import DenseTable, SparseTable

__all__ = ["NEGATIVES_FORMAT", "filter_candidates", "mine_negatives", "open_negatives"]

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
    keep = ~known & (scores <= margin * positive_scores[:, None])
    # A stable sort brings the kept ones to the front in their order.
    order = np.argsort(~keep, axis=1, kind="stable")[:, :depth]
    chosen = np.take_along_axis(np.where(keep, candidates, -1), order, axis=1)
    out = np.full((len(candidates), depth), -1, dtype=np.int32)
    out[:, : chosen.shape[1]] = chosen
    return out


def mine_negatives(
    config: NegativesConfig,
    pairs: PairTable,
    table: DenseTable | SparseTable,
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
) -> NDArray[np.int32]:
    """Search every training query among all passages; write and return the negatives.

    Raises
    ------
    ArgumentError
        If the teacher has no dense vectors.
    """
    if not isinstance(table, DenseTable):
        raise ArgumentError(
            f"negatives.teacher {config.teacher!r} has no dense vectors.",
            hint="Name a teacher of kind 'dense'.",
        )
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    passages = torch.tensor(table.passages, dtype=dtype, device=device)
    positives = _known_positives(pairs)
    queries = np.unique(pairs.pairs[:, 0]).astype(np.int64)
    result = np.full((len(pairs.queries), config.depth), -1, dtype=np.int32)
    m = min(config.depth * 2 + positives.shape[1], len(pairs.passages))
    size = max(1, (1 << 30) // (len(passages) * passages.element_size()))
    with progress_bar("negatives", total=len(queries), unit="queries") as advance:
        for start in range(0, len(queries), size):
            rows = queries[start : start + size]
            vectors = table.side("queries", rows, device).to(dtype)
            scores = vectors @ passages.T
            mine = torch.from_numpy(positives[rows]).to(device)
            own = scores.gather(1, mine.clamp(min=0)).masked_fill(mine < 0, float("inf"))
            best, where = scores.topk(m, dim=1)
            result[rows] = filter_candidates(
                where.cpu().numpy(),
                best.float().cpu().numpy(),
                positives[rows],
                own.amin(dim=1).float().cpu().numpy(),
                depth=config.depth,
                margin=config.margin,
            )
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


def _known_positives(pairs: PairTable, limit: int = 16) -> NDArray[np.int64]:
    """Return up to `limit` positives of every query, -1 padded."""
    order = np.argsort(pairs.pairs[:, 0], kind="stable")
    query, passage = pairs.pairs[order].T.astype(np.int64)
    first = np.searchsorted(query, query)
    rank = np.arange(len(query)) - first
    keep = rank < limit
    out = np.full((len(pairs.queries), int(rank[keep].max(initial=0)) + 1), -1, dtype=np.int64)
    out[query[keep], rank[keep]] = passage[keep]
    return out
