"""Recipes that ship: one TOML file a model, beside this module in ``recipes/``."""

from __future__ import annotations

from pathlib import Path

from lsr.core.errors import ConfigError, near_names

__all__ = ["find_recipe", "recipe_names"]

_FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(p.stem for p in _FOLDER.glob("*.toml"))


def find_recipe(name_or_path: str | Path) -> Path:
    """Return the file of a path or of a shipped recipe's name.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = _FOLDER / f"{name_or_path}.toml"
    if shipped.is_file() and "/" not in str(name_or_path):
        return shipped
    raise ConfigError(
        f"No recipe {str(name_or_path)!r}: no such file, and none of this name ships."
        f"{near_names(str(name_or_path), recipe_names())}",
        hint=f"Shipped: {', '.join(recipe_names())}.",
    )
