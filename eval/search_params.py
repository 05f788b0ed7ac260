"""Search parameters of an index layout from plain values, checked by the layout's own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexing.storage import layout_class
from lsr.core.config import Config, load_config
from lsr.core.errors import ArgumentError

__all__ = ["parse_params"]


def parse_params(layout: str, values: Mapping[str, Any]) -> Config | None:
    """Return the parameters of a layout; None (its defaults) for no values.

    Raises
    ------
    ArgumentError
        If the layout has no search parameters.
    ArtifactFormatError
        If this release does not know the layout.
    ConfigError
        If a name or a value is wrong; with every problem found.
    """
    model: type[Config] | None = layout_class(layout).params_model
    if not values:
        return None
    if model is None:
        raise ArgumentError(
            f"The layout {layout!r} has no search parameters, got {', '.join(values)}."
        )
    return load_config(model, values=values)
