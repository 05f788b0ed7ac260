"""Build and search parameters of the clustered layout; see `indexing.clustered`."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from lsr.core.config import Config

__all__ = ["ClusteredLayout", "ClusteredParams"]

WIDE_FROM = 2_000_000
WIDE_ROWS = 16
"""The first level that large collections get."""

Share = Annotated[float, Field(gt=0, le=1)]


class ClusteredLayout(Config):
    """One clustered document order with blocks of four.

    Attributes
    ----------
    n_dimensions : int
        Of the projection that the order is found in. More: a better order (recall at equal
        speed), a slower build; the build needs this many bytes a document.
    n_iterations : int
        2-means iterations a split. More: a better order, a slower build.
    regroup_rows : int
        Neighbouring rows that are regrouped into blocks by exact cosine; 0 leaves it out. More:
        tighter blocks (recall at equal speed, a faster exact mode), a build slower in proportion.
    dense_share : float
        Terms in more than this share of the blocks have a row of 4-bit maxima, the others a list.
        Less: faster (down to about .015: 15 to 20 % at a million documents), more memory (a third
        there).
    wide_rows : int, optional
        A first level with maxima over this many documents (16, 32 or 64) chooses where blocks are
        estimated at all; 0 leaves it out, None has it for collections of `WIDE_FROM` documents
        on. Larger collections gain. More: fewer bytes, lower recall at equal `max_wide_blocks`.
    """

    kind: Literal["clustered"] = "clustered"
    n_dimensions: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 128
    n_iterations: Annotated[int, Field(ge=1, le=100)] = 8
    regroup_rows: Annotated[int, Field(ge=0, le=1024, multiple_of=4)] = 256
    dense_share: Share = 0.04
    wide_rows: Literal[0, 16, 32, 64] | None = None

    def wide_rows_for(self, n_documents: int) -> int:
        """Return the documents of a wide block, 0 for no such level."""
        if self.wide_rows is None:
            return WIDE_ROWS if n_documents >= WIDE_FROM else 0
        return self.wide_rows


class ClusteredParams(Config):
    """How a clustered index is searched; no parameter changes which scores a row may have.

    Attributes
    ----------
    exact : bool
        Visit every block that could hold a result, with all query terms: the result is proven.
        The other parameters then have no effect.
    query_mass : float
        Share of the query's weight whose heaviest terms choose the blocks; the final scores use
        all terms. Less: faster, lower recall.
    max_blocks : int
        Blocks of four documents visited for k = 10; grows with k, see `blocks_for`. Fewer:
        faster, lower recall.
    heap_factor : float
        Stop when a block's estimate falls below this times the k-th score so far. 0 never stops
        before `max_blocks` (the steadiest time); nearer 1 stops earlier: faster, lower recall.
        Above 0, blocks beyond `max_blocks` are visited while their estimate is not below it.
    rescore_share : float
        Documents within this share of the k-th 8-bit score are scored again from half floats.
        Nearer 1: faster by a little, lower recall by a little.
    max_wide_blocks : int
        With a first level: wide blocks (of `ClusteredLayout.wide_rows` documents) near which
        blocks are estimated, for k = 10. Fewer: faster, lower recall. Without: no effect.
    """

    exact: bool = False
    query_mass: Share = 0.85
    max_blocks: Annotated[int, Field(ge=1, le=10_000_000)] = 150
    heap_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    rescore_share: Share = 0.97
    max_wide_blocks: Annotated[int, Field(ge=1, le=10_000_000)] = 400

    def blocks_for(self, k: int) -> int:
        """Return the blocks to visit for depth `k`: at least k, growing with k to the .75."""
        return _for_depth(self.max_blocks, k)

    def wide_blocks_for(self, k: int) -> int:
        """Return the wide blocks to open for depth `k`, growing like `blocks_for`."""
        return _for_depth(self.max_wide_blocks, k)


@lru_cache(maxsize=256)
def _for_depth(n: int, k: int) -> int:
    """Return the blocks for depth `k` where `n` are for 10; remembered, a query asks for it."""
    return max(round(n * max(1.0, float((k / 10) ** 0.75))), k)
