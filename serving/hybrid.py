"""Hybrid search: the best documents of the sparse and of the dense half, fused.

Both halves give their best candidates, and their ranks or normalised scores are added with weights
(`indexing.fusion`). What each half gave to a document stays with it, so the sum can be explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from indexing.dense_encoder import DenseTextEncoder
from indexing.dense_flat import check_dense, faiss_module
from indexing.fusion import Ranked, fuse, min_max, reciprocal_ranks
from lsr.core.errors import ArgumentError, DataError, QueryError
from lsr.core.sparse import Float32Array
from serving.results import Found, HitParts, Part

__all__ = ["DenseHalf", "DenseQuery", "Hybrid", "fused"]

DenseQuery: TypeAlias = str | Sequence[float] | Float32Array
"""What the dense half is asked: a text, or the vector that a bi-encoder made of it."""


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
    """What the dense half of a source takes; the model that makes it of a text is loaded on use.

    Parameters
    ----------
    width : int
        Numbers in a vector.
    name : str or None
        Of the bi-encoder; None where vectors are made elsewhere.
    load : callable, optional
        Returns the bi-encoder.
    """

    def __init__(
        self, width: int, *, name: str | None, load: Callable[[], DenseTextEncoder] | None
    ) -> None:
        self.width = width
        self.name = name
        self._load = load

    def encode(self, queries: Sequence[DenseQuery]) -> Float32Array:
        """Return one row a query: its own numbers, or what the bi-encoder makes of its text.

        Raises
        ------
        QueryError
            If a query is a text and there is no bi-encoder, or its numbers break a rule.
        MissingDependencyError
            Without torch.
        """
        texts = [query for query in queries if isinstance(query, str)]
        if texts and self._load is None:
            raise QueryError(
                "The dense half here has no bi-encoder: its vectors are made elsewhere.",
                hint=f"Send the query's dense_vector too: {self.width} numbers.",
            )
        encoded = iter(self._load().encode(texts)) if self._load is not None and texts else iter(())
        rows = [next(encoded) if isinstance(query, str) else query for query in queries]
        try:
            return check_dense(rows, self.width, ["the query"] * len(rows))
        except DataError as error:
            raise QueryError(error.message, hint=error.hint) from None

    def warm_up(self) -> Float32Array:
        """Load what there is; return a query. Raises MissingDependencyError without a package."""
        faiss_module()
        if self._load is None:
            return np.zeros(self.width, dtype=np.float32)
        rows = self.encode(["how long does this take"])
        first: Float32Array = rows[0]
        return first


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
