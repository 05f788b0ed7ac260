"""Systems under test, by configuration: what searches, and how.

A tagged union on ``kind``, so that a suite's TOML lists only the fields its kind has::

    [[systems]]
    name = "splade-tiny"
    kind = "sparse"
    encoder = "splade-tiny"

    [[systems]]
    name = "hybrid"
    kind = "convex"
    of = ["splade-tiny", "minilm"]
    tuned_on = ["cranfield", "cisi"]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from indexing.config import ExactLayout, IndexConfig
from lsr.core.config import Config
from lsr.data.interchange import DEFAULT_SCALE

__all__ = [
    "ConvexSystem",
    "DenseSystem",
    "LuceneBm25System",
    "LuceneImpactSystem",
    "RerankSystem",
    "RrfSystem",
    "RunSystem",
    "SparseSystem",
    "System",
    "parts_of",
]


class _System(Config):
    """What every system has.

    Attributes
    ----------
    name : str
        How results call it; unique in a suite.
    about : str
        One line for the report.
    hidden : bool
        Only a part of other systems, not reported itself.
    """

    name: str = Field(min_length=1)
    about: str = ""
    hidden: bool = False


class SparseSystem(_System):
    """A sparse encoder and one of this system's indexes.

    Attributes
    ----------
    encoder : str
        ``"lexical"``, a shipped name, a model folder or a hub id.
    index : IndexConfig
        Layout and its parameters.
    params : dict
        Search parameters of the layout; empty: its defaults.
    impact_scale : float or None
        Multiply the weights of both sides and round them, as the export to Lucene does; None: as
        they are.
    """

    kind: Literal["sparse"] = "sparse"
    encoder: str
    impact_scale: float | None = Field(default=None, gt=0)
    index: IndexConfig = IndexConfig(layout=ExactLayout())
    params: dict[str, Any] = Field(default_factory=dict)


class LuceneBm25System(_System):
    """BM25 in Lucene, title and text as one field."""

    kind: Literal["lucene-bm25"] = "lucene-bm25"
    k1: float = Field(default=0.9, ge=0)
    b: float = Field(default=0.4, ge=0, le=1)


class LuceneImpactSystem(_System):
    """The vectors of a sparse encoder, quantised, in Lucene's impact search."""

    kind: Literal["lucene-impact"] = "lucene-impact"
    encoder: str
    scale: float = Field(default=DEFAULT_SCALE, gt=0)
    query_scale: float = Field(default=DEFAULT_SCALE, gt=0)


class DenseSystem(_System):
    """A bi-encoder and faiss.

    Attributes
    ----------
    index : {"flat", "hnsw"}
        Exact, or a graph with `m`, `ef_construction`, `ef_search` (higher: better recall, slower).
    """

    kind: Literal["dense"] = "dense"
    encoder: str
    index: Literal["flat", "hnsw"] = "flat"
    m: int = Field(default=32, ge=2)
    ef_construction: int = Field(default=200, ge=1)
    ef_search: int = Field(default=128, ge=1)


class RunSystem(_System):
    """Run files that another system wrote.

    Attributes
    ----------
    runs : dict
        Collection name to a TREC run file, relative to the collection's folder.
    """

    kind: Literal["run"] = "run"
    runs: dict[str, str]


class RrfSystem(_System):
    """Reciprocal rank fusion of other systems of the suite."""

    kind: Literal["rrf"] = "rrf"
    of: tuple[str, ...] = Field(min_length=2)
    k: int = Field(default=60, ge=0)


class ConvexSystem(_System):
    """A convex combination of two other systems' min-max normalised scores.

    Attributes
    ----------
    weight : float or None
        Of the first; None: learned on the collections in `tuned_on`.
    tuned_on : tuple of str
        Names of collections of the suite. One that is itself being reported is left out, so
        that no weight is tuned on the queries it is reported on.
    tuned_for : str
        The measure to maximise.
    """

    kind: Literal["convex"] = "convex"
    of: tuple[str, str]
    weight: float | None = Field(default=None, ge=0, le=1)
    tuned_on: tuple[str, ...] = ()
    tuned_for: str = "nDCG@10"

    @model_validator(mode="after")
    def _one_source_of_the_weight(self) -> ConvexSystem:
        if (self.weight is None) == (not self.tuned_on):
            raise ValueError("give either a weight or the collections it is tuned_on")
        return self


class RerankSystem(_System):
    """The first results of one system, ordered anew by another's scores.

    Attributes
    ----------
    first : str
        Whose results.
    by : str
        A sparse or dense system, whose scores.
    depth : int
        How many results of a query.
    """

    kind: Literal["rerank"] = "rerank"
    first: str
    by: str
    depth: int = Field(default=100, ge=1)


System: TypeAlias = Annotated[
    SparseSystem
    | LuceneBm25System
    | LuceneImpactSystem
    | DenseSystem
    | RunSystem
    | RrfSystem
    | ConvexSystem
    | RerankSystem,
    Field(discriminator="kind"),
]


def parts_of(system: System) -> tuple[str, ...]:
    """Return the names of the systems that a system is made of."""
    if isinstance(system, RrfSystem | ConvexSystem):
        return tuple(system.of)
    if isinstance(system, RerankSystem):
        return (system.first, system.by)
    return ()
