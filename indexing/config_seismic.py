"""Build and search parameters of the Seismic layout, under the names of its paper.

References
----------
Bruch, Nardini, Rulli, Venturini: Efficient Inverted Indexes for Approximate Retrieval over
Learned Sparse Representations. SIGIR 2024.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from lsr.core.config import Config

__all__ = ["CapPruning", "GlobalThresholdPruning", "Pruning", "SeismicLayout", "SeismicParams"]

Share = Annotated[float, Field(gt=0, le=1)]
NPostings = Annotated[int, Field(ge=1, le=2**31 - 1)]


class CapPruning(Config):
    """Every list keeps its heaviest postings.

    Attributes
    ----------
    n_postings : int
        Postings a list keeps. More: recall; memory and build time grow with it.
    """

    kind: Literal["cap"] = "cap"
    n_postings: NPostings = 4000


class GlobalThresholdPruning(Config):
    """The collection keeps its heaviest postings, wherever they are; long lists are capped.

    Attributes
    ----------
    n_postings : int
        Mean postings a list: the heaviest ``n_postings * vocabulary size`` of the collection
        stay. More: recall; memory and build time grow with it.
    max_fraction : float
        No list keeps more than ``n_postings * max_fraction``. More: recall of queries with
        frequent terms; memory.
    """

    kind: Literal["global-threshold"] = "global-threshold"
    n_postings: NPostings = 3500
    max_fraction: Annotated[float, Field(ge=1)] = 1.5


def _default_pruning(value: Any) -> Any:
    # So that --set layout.pruning.n_postings=4000 needs no kind beside it.
    return {"kind": "global-threshold", **value} if isinstance(value, dict) else value


Pruning: TypeAlias = Annotated[
    CapPruning | GlobalThresholdPruning,
    Field(discriminator="kind"),
    BeforeValidator(_default_pruning),
]


class SeismicLayout(Config):
    """One inverted list a term, pruned, in blocks of similar documents with a summary each.

    Attributes
    ----------
    pruning : CapPruning or GlobalThresholdPruning
        Which postings the lists keep.
    centroid_fraction : float
        Blocks a list aims at, as a share of its postings. More: smaller blocks, hence fewer
        documents scored, and more summaries to read and to store.
    min_cluster_size : int
        Smaller blocks are dissolved into the others.
    doc_cut : int
        Heaviest terms of a document that choose its block. More: better blocks, a slower build.
    summary_energy : float
        Share of a summary's weight that is kept, heaviest terms first. More: better estimates
        (recall at equal heap_factor), memory, slower estimates.
    n_neighbors : int
        Nearest neighbours stored for each document (for `SeismicParams.n_knn`); 0 for none.
        Four bytes each, and a build that searches once a document.
    """

    kind: Literal["seismic"] = "seismic"
    pruning: Pruning = GlobalThresholdPruning()
    centroid_fraction: Share = 0.1
    min_cluster_size: Annotated[int, Field(ge=1)] = 2
    doc_cut: Annotated[int, Field(ge=1)] = 15
    summary_energy: Share = 0.4
    n_neighbors: Annotated[int, Field(ge=0, le=256)] = 0


class SeismicParams(Config):
    """How a Seismic index is searched; no parameter changes which score a row has.

    Attributes
    ----------
    exact : bool
        Score every document: slow and exact; the other parameters then have no effect.
    query_cut : int
        Heaviest query terms whose lists are looked at; scores use all terms. Less: faster,
        lower recall.
    heap_factor : float
        A block is left out when its estimate is below this times the k-th score so far.
        More: faster, lower recall; 0 leaves out nothing.
    rescore_share : float
        Documents within this share of the k-th 8-bit score are scored again from half floats.
        More: faster by a little, lower recall by a little.
    n_knn : int
        Stored neighbours of each result that are scored too; 0 for none. More: recall, slower.
    """

    exact: bool = False
    query_cut: Annotated[int, Field(ge=1, le=65_535)] = 10
    heap_factor: Annotated[float, Field(ge=0, le=1)] = 0.8
    rescore_share: Annotated[float, Field(ge=0, le=1)] = 0.97
    n_knn: Annotated[int, Field(ge=0, le=256)] = 0
