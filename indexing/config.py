"""Index configuration: which layout, with which build parameters.

The layouts are a tagged union on ``kind``, each with its own fields, so that no meaningless
combination fits: ``--set layout.kind=exact``.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from lsr.core.config import Config

__all__ = ["ExactLayout", "IndexConfig", "Layout"]


class ExactLayout(Config):
    """Every posting at full precision; a query reads all postings of its terms."""

    kind: Literal["exact"] = "exact"


Layout: TypeAlias = ExactLayout


class IndexConfig(Config):
    """How an index is built.

    Attributes
    ----------
    layout : ExactLayout
        What the index is made of, and its parameters.
    seed : int
        Of every random choice of the build; the result does not depend on the threads.
    """

    layout: Layout = ExactLayout()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
