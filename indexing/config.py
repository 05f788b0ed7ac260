"""Index configuration: which layout, with which build parameters.

The layouts are a tagged union on ``kind``, each with its own fields, so that no meaningless
combination fits: ``--set layout.kind=exact``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from indexing.config_clustered import ClusteredLayout
from indexing.config_seismic import SeismicLayout
from lsr.core.config import Config

__all__ = ["ExactLayout", "IndexConfig", "Layout"]


class ExactLayout(Config):
    """Every posting at full precision; a query reads all postings of its terms."""

    kind: Literal["exact"] = "exact"


def _default_layout(value: Any) -> Any:
    # So that --set layout.… needs no kind beside it.
    return {"kind": "exact", **value} if isinstance(value, dict) else value


Layout: TypeAlias = Annotated[
    ExactLayout | SeismicLayout | ClusteredLayout,
    Field(discriminator="kind"),
    BeforeValidator(_default_layout),
]


class IndexConfig(Config):
    """How an index is built.

    Attributes
    ----------
    layout : ExactLayout, SeismicLayout or ClusteredLayout
        What the index is made of, and its parameters.
    seed : int
        Of every random choice of the build; the result does not depend on the threads.
    """

    layout: Layout = ExactLayout()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
