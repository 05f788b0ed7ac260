"""Settings depend on the machine, never on the result: the environment, then flags."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from lsr.core.errors import ConfigError

__all__ = ["Settings", "get_settings", "load_settings"]

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def _usable_cores() -> int:
    # Not every system has affinity masks (macOS, Windows).
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Settings(BaseSettings):
    """What may differ from machine to machine.

    Attributes
    ----------
    home : Path
        ``LSR_HOME``: downloads and caches; default ``~/.cache/lsr``.
    data : tuple of Path
        ``LSR_DATA``: folders that hold data sets, separated as in ``PATH``; default none.
    threads : int
        ``LSR_THREADS``: worker threads; default every core this process may use.
    log_level : str
        ``LSR_LOG_LEVEL``.
    """

    model_config = SettingsConfigDict(env_prefix="LSR_", frozen=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".cache" / "lsr")
    # NoDecode: the environment gives a path list, not the JSON that pydantic-settings expects.
    data: Annotated[tuple[Path, ...], NoDecode] = ()
    threads: int = Field(default_factory=_usable_cores, ge=1, le=4096)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator("data", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part)
        return value


def load_settings(model: type[SettingsT], **flags: Any) -> SettingsT:
    """Return the settings of `model` from the environment, `flags` above it.

    Parameters
    ----------
    model : type
        A ``BaseSettings`` class with an ``env_prefix``.
    **flags
        Values of the command line; None means that a flag was not given.

    Raises
    ------
    ConfigError
        Naming each environment variable or flag that is wrong.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return model(**given)
    except ValidationError as error:
        prefix = model.model_config.get("env_prefix", "")
        lines = []
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"])
            seen = f" (got {problem['input']!r})"
            if problem["type"] == "value_error":  # raised by a validator, which says all
                problem["msg"], seen = problem["msg"].removeprefix("Value error, "), ""
            if not name:
                lines.append(problem["msg"])
            elif name in given:
                lines.append(f"--{name.replace('_', '-')}: {problem['msg']}{seen}")
            else:
                lines.append(f"{prefix}{name.upper()}: {problem['msg']}{seen}")
        raise ConfigError("Wrong settings:\n  " + "\n  ".join(lines)) from None
    except SettingsError as error:
        raise ConfigError(f"Wrong environment settings: {error}.") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process.

    Raises
    ------
    ConfigError
        Naming each environment variable that is wrong.
    """
    return load_settings(Settings)
