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

__all__ = ["EXACT_BELOW", "AutoLayout", "ExactLayout", "IndexConfig", "Layout"]

EXACT_BELOW = 50_000
"""Measured on Wikipedia passages (167 terms a document, 23 a query): the exact layout answers in 113,
179 and 332 µs at 20, 50 and 100 thousand documents, the clustered one at .99 recall in 145, 148 and
174."""


class AutoLayout(Config):
    """Exact for collections below `EXACT_BELOW` documents, where that is as quick; else clustered."""

    kind: Literal["auto"] = "auto"


class ExactLayout(Config):
    """Every posting at full precision; a query reads all postings of its terms."""

    kind: Literal["exact"] = "exact"


def _default_layout(value: Any) -> Any:
    # So that --set layout.… needs no kind beside it.
    return {"kind": "auto", **value} if isinstance(value, dict) else value


Layout: TypeAlias = Annotated[
    AutoLayout | ExactLayout | SeismicLayout | ClusteredLayout,
    Field(discriminator="kind"),
    BeforeValidator(_default_layout),
]


class IndexConfig(Config):
    """How an index is built.

    Attributes
    ----------
    layout : AutoLayout, ExactLayout, SeismicLayout or ClusteredLayout
        What the index is made of, and its parameters.
    seed : int
        Of every random choice of the build; the result does not depend on the threads.
    """

    layout: Layout = AutoLayout()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42

    def for_size(self, n_documents: int) -> IndexConfig:
        """Return the configuration with the layout that so many documents get."""
        if not isinstance(self.layout, AutoLayout):
            return self
        layout = ExactLayout() if n_documents < EXACT_BELOW else ClusteredLayout()
        return self.model_copy(update={"layout": layout})
