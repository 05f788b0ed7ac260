"""Search parameters by recall for the impatient: ``recall-90``, ``recall-95``, ``recall-99``.

Each file has one table a layout. They were chosen on one collection (named in the file) with one
encoder; on others they reach less or more. ``lsr index tune`` measures on yours.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from lsr.core.config import Config
from lsr.core.errors import ConfigError, near_names

__all__ = ["load_preset", "preset_names"]


@cache
def preset_names() -> tuple[str, ...]:
    """Return the names of the presets, lowest recall first."""
    found = (file.name for file in files(__name__).iterdir() if file.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in found))


def load_preset(name: str, layout: str) -> Config:
    """Return the search parameters of a preset for a layout.

    Raises
    ------
    ConfigError
        If there is no such preset, or it has nothing for the layout.

    Examples
    --------
    >>> load_preset("recall-95", "seismic").exact
    False
    """
    from indexing.config_clustered import ClusteredParams
    from indexing.config_seismic import SeismicParams

    if name not in preset_names():
        raise ConfigError(
            f"No preset {name!r}.{near_names(name, preset_names())}",
            hint=f"There are: {', '.join(preset_names())}.",
        )
    models: dict[str, type[Config]] = {"clustered": ClusteredParams, "seismic": SeismicParams}
    tables: dict[str, Any] = tomllib.loads(
        files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    )
    if layout not in tables:
        raise ConfigError(
            f"Preset {name!r} has nothing for layout {layout!r}, only for "
            f"{', '.join(sorted(tables))}."
        )
    return models[layout].model_validate(tables[layout])
