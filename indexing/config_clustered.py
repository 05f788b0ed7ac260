"""Build and search parameters of the clustered layout; see `indexing.clustered`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lsr.core.config import Config

__all__ = ["ClusteredLayout", "ClusteredParams"]

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
    super_level : bool
        Maxima over 64 documents choose which blocks are estimated. Less is read from very large
        collections, in random places; measured slower at equal recall up to three million
        documents. More memory.
    """

    kind: Literal["clustered"] = "clustered"
    n_dimensions: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 128
    n_iterations: Annotated[int, Field(ge=1, le=100)] = 8
    regroup_rows: Annotated[int, Field(ge=0, le=1024, multiple_of=4)] = 256
    dense_share: Share = 0.04
    super_level: bool = False


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
    max_super_blocks : int
        With a super level: groups of 64 documents whose blocks are estimated, for k = 10. Fewer:
        faster, lower recall. Without one: no effect.
    """

    exact: bool = False
    query_mass: Share = 0.85
    max_blocks: Annotated[int, Field(ge=1, le=10_000_000)] = 150
    heap_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    rescore_share: Share = 0.97
    max_super_blocks: Annotated[int, Field(ge=1, le=10_000_000)] = 2_000

    def blocks_for(self, k: int) -> int:
        """Return the blocks to visit for depth `k`: at least k, growing with k to the .75."""
        return max(round(self.max_blocks * max(1.0, float((k / 10) ** 0.75))), k)

    def super_blocks_for(self, k: int) -> int:
        """Return the super-blocks to expand for depth `k`, growing like `blocks_for`."""
        return max(round(self.max_super_blocks * max(1.0, float((k / 10) ** 0.5))), k)
