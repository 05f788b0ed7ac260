"""Hybrid search: the best documents of the sparse and of the dense half, fused.

Both halves give their best candidates, and their ranks or normalised scores are added with weights
(`indexing.fusion`). What each half gave to a document stays with it, so the sum can be explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from indexing.dense_folder import DenseFolder
from indexing.fusion import Ranked, fuse, min_max, reciprocal_ranks
from lsr.core.errors import ArgumentError
from lsr.core.sparse import Float32Array
from lsr.core.strings import StringTable
from serving.results import Found, HitParts, Part

__all__ = ["DenseHalf", "Hybrid", "fused"]


@dataclass(frozen=True, slots=True)
class Hybrid:
    """How two halves are fused.

    Attributes
    ----------
    fusion : {"rrf", "convex"}
        Reciprocal ranks, which need no comparable scores; or min-max normalised scores, which keep
        how far apart documents are.
    sparse, dense : float
        Weights, not both 0; those of a convex combination are scaled to the sum 1.
    rrf_k : int
        Higher: the first ranks weigh less against the later ones.
    depth : int
        Candidates of each half; never fewer than the results asked for.
    """

    fusion: Literal["rrf", "convex"] = "rrf"
    sparse: float = 1.0
    dense: float = 1.0
    rrf_k: int = 60
    depth: int = 100

    def __post_init__(self) -> None:
        if min(self.sparse, self.dense) < 0 or self.sparse + self.dense <= 0:
            raise ArgumentError(
                "The weights of a hybrid search are 0 or more, and one of them is more; got sparse "
                f"{self.sparse:g} and dense {self.dense:g}."
            )
        if self.fusion not in ("rrf", "convex"):
            raise ArgumentError(f"fusion is 'rrf' or 'convex', got {self.fusion!r}.")

    @property
    def weights(self) -> tuple[float, float]:
        """Of the sparse and the dense half."""
        total = self.sparse + self.dense if self.fusion == "convex" else 1.0
        return self.sparse / total, self.dense / total


class DenseHalf:
    """The dense half of an index folder; model and vectors are loaded on first use.

    Parameters
    ----------
    folder : DenseFolder
    doc_ids : StringTable
        Of the index.
    """

    def __init__(self, folder: DenseFolder, doc_ids: StringTable) -> None:
        self.name = folder.encoder_name
        self._folder = folder
        self._doc_ids = doc_ids

    def warm_up(self) -> None:
        """Load everything; raises MissingDependencyError without torch or faiss."""
        self.search(self.encode(["how long does this take"]), 1)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one row a text."""
        return self._folder.encoder.encode(texts)

    def search(self, queries: Float32Array, k: int) -> list[Found]:
        """Return the best `k` documents of every query."""
        batch = self._folder.index.search_batch(queries, k)
        made = []
        for at in range(len(queries)):
            rows, scores = batch[at]
            keys = rows.tolist()
            made.append(Found([self._doc_ids[row] for row in keys], scores.tolist(), keys))
        return made

    def score(self, query: Float32Array, doc_id: str) -> float | None:
        """Return the inner product of a query and a document; None if there is none of this id."""
        row = self._doc_ids.row(doc_id)
        return None if row is None else float(self._folder.index.vector(row) @ query)


def fused(sparse: Found, dense: Found, hybrid: Hybrid, depth: int) -> Found:
    """Return the best `depth` documents of two halves together, with what each gave."""
    halves = (sparse, dense)
    normalise = min_max if hybrid.fusion == "convex" else reciprocal_ranks(hybrid.rrf_k)
    ranked = [Ranked(half.doc_ids, half.scores) for half in halves]
    best = fuse(ranked, hybrid.weights, normalise, max(hybrid.depth, depth))[:depth]
    keys = {d: key for half in halves for d, key in zip(half.doc_ids, half.keys, strict=True)}

    def part(half: int, rank: int | None, share: float) -> Part:
        score = None if rank is None else halves[half].scores[rank - 1]
        return Part(rank=rank, score=score, share=share)

    return Found(
        [one.doc_id for one in best],
        [one.score for one in best],
        [keys[one.doc_id] for one in best],
        parts=[
            HitParts(*(part(half, one.ranks[half], one.shares[half]) for half in (0, 1)))
            for one in best
        ],
    )
