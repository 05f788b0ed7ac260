"""How a live collection is built and kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from indexing.config import ExactLayout, IndexConfig
from indexing.filters_fields import FieldType
from lsr.core.config import Config

__all__ = ["CollectionConfig"]


class CollectionConfig(Config):
    """How a live collection is built and kept; fixed when it is made.

    Attributes
    ----------
    index : IndexConfig
        The layout of sealed segments of at least `exact_below` documents. The head, the newest
        documents, is always exact.
    exact_below : int
        Smaller segments are exact, whatever the layout: they are built in no time and searched as
        fast. Higher: faster sealing, higher recall; lower: faster search of middling segments.
    fields : dict of str to str
        Types of metadata fields; others take the type of their first value
        (`indexing.filters_fields`).
    seal_at : int
        Documents in the head before they are sealed. Higher: fewer segments, faster search of
        what is sealed; more memory, slower opening.
    merge_factor : int
        How many neighbouring segments become one. Higher: less is rewritten; more segments are
        searched.
    max_dead_share : float
        Share of dead rows above which a segment is written again. Lower: less space and time
        spent on the dead; more is rewritten.
    positions : bool
        Keep, of documents that are encoded here, from which piece of text each weight comes: true
        highlights, for about a fifth more space. Encoded collections bring them along or not
        (``lsr encode --positions``), whatever stands here.
    bulk_rows : int
        Documents a segment when a whole collection is loaded. Higher: fewer merges; a larger
        log, more memory while loading.
    """

    index: IndexConfig = IndexConfig(layout=ExactLayout())
    exact_below: Annotated[int, Field(ge=0)] = 20_000
    fields: dict[str, FieldType] = Field(default_factory=dict)
    seal_at: Annotated[int, Field(ge=1, le=1_000_000)] = 8_192
    merge_factor: Annotated[int, Field(ge=2, le=64)] = 8
    max_dead_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    positions: bool = False
    bulk_rows: Annotated[int, Field(ge=1, le=4_000_000)] = 100_000

    @field_validator("index")
    @classmethod
    def _names_its_layout(cls, index: IndexConfig) -> IndexConfig:
        if index.layout.kind == "auto":
            raise ValueError(
                "a live collection names its layout: exact, seismic or clustered; small segments "
                "are exact anyway (exact_below)"
            )
        return index
