"""Configs decide results: frozen models from defaults, a TOML file and ``--set`` overrides.

A file lists only what differs from the defaults. Unknown keys are errors with near names, and
all problems of a config are reported at once. Nothing here reads the environment.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lsr.core.errors import ConfigError, near_names

__all__ = ["Config", "config_hash", "load_config", "parse_override"]

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of every config: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def parse_override(override: str) -> tuple[list[str], Any]:
    """Return the key path and the value of one ``a.b=value``; the value is TOML, else a string.

    Raises
    ------
    ConfigError
        If there is no ``=`` or no key.

    Examples
    --------
    >>> parse_override("index.n_postings=4000")
    (['index', 'n_postings'], 4000)
    >>> parse_override("name=mini")
    (['name'], 'mini')
    """
    key, equals, raw = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(
            f"--set takes KEY=VALUE, got {override!r}.", hint="Example: --set index.seed=7"
        )
    try:
        return path, tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return path, raw.strip()


def _merge(base: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = base.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {'.'.join(path)}: {part!r} is a value, not a table.")
        base = inner
    base[path[-1]] = value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No config file at {path}.", hint="Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _known_names(annotation: Any, path: Sequence[Any]) -> list[str]:
    """Return the field names of the model that stands at `path` (unions: of all members)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if not path:
            return list(fields)
        head = path[0]
        if head in fields:
            return _known_names(fields[head].annotation, path[1:])
        # In a tagged union pydantic puts the tag into the location; it is no field.
        return _known_names(annotation, path[1:])
    names: list[str] = []
    for inner in get_args(annotation):
        names += _known_names(inner, path)
    return names


def _explain(error: ValidationError, model: type[BaseModel], source: str) -> ConfigError:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_names(model, problem["loc"][:-1])
            near = near_names(str(problem["loc"][-1]), known)
            lines.append(f"{where}: unknown key.{near}")
        else:
            seen = "" if problem["type"] == "missing" else f" (got {problem['input']!r})"
            lines.append(f"{where or 'config'}: {problem['msg']}{seen}")
    plural = "s" if len(lines) > 1 else ""
    return ConfigError(f"{len(lines)} problem{plural} in {source}:\n  " + "\n  ".join(lines))


def load_config(
    model: type[ConfigT],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
) -> ConfigT:
    """Return the config of defaults, then `values`, then the TOML at `path`, then `overrides`.

    Parameters
    ----------
    model : type
        The config class.
    path : Path, optional
        A TOML file.
    overrides : sequence of str
        ``a.b=value``, the value in TOML syntax (bare words are strings).
    values : mapping, optional
        Values below the file, such as a preset's.

    Raises
    ------
    ConfigError
        With every problem found.
    """
    merged: dict[str, Any] = json.loads(json.dumps(dict(values))) if values else {}
    if path is not None:
        for key, value in _read_toml(path).items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = {**merged[key], **value}
            else:
                merged[key] = value
    for override in overrides:
        _merge(merged, *parse_override(override))
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        source = str(path) if path is not None else model.__name__
        raise _explain(error, model, source) from None


def config_hash(config: BaseModel) -> str:
    """Return the SHA-256 of the config's canonical JSON, 16 hexadecimal digits of it."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
