"""Search parameters of an index layout from plain values, checked by the layout's own class."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lsr.core.config import load_config
from lsr.core.errors import ArgumentError

__all__ = ["parse_params"]

_CLASSES = {
    "clustered": ("indexing.config_clustered", "ClusteredParams"),
    "seismic": ("indexing.config_seismic", "SeismicParams"),
}


def parse_params(layout: str, values: Mapping[str, Any]) -> Any | None:
    """Return the parameters of a layout; None (its defaults) for no values.

    Raises
    ------
    ArgumentError
        If the layout has no search parameters.
    ConfigError
        If a name or a value is wrong; with every problem found.
    """
    if not values:
        return None
    if layout not in _CLASSES:
        raise ArgumentError(
            f"The layout {layout!r} has no search parameters, got {', '.join(values)}."
        )
    module, name = _CLASSES[layout]
    return load_config(getattr(importlib.import_module(module), name), values=values)
