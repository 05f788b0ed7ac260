"""Settings depend on the machine, never on the result: the environment, then flags."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lsr.core.errors import ConfigError

__all__ = ["Settings", "get_settings"]


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
    threads : int
        ``LSR_THREADS``: worker threads; default every core this process may use.
    log_level : str
        ``LSR_LOG_LEVEL``.
    """

    model_config = SettingsConfigDict(env_prefix="LSR_", frozen=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".cache" / "lsr")
    threads: int = Field(default_factory=_usable_cores, ge=1, le=4096)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process.

    Raises
    ------
    ConfigError
        Naming each environment variable that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"LSR_{'_'.join(str(p) for p in e['loc']).upper()}: {e['msg']} (got {e['input']!r})"
            for e in error.errors()
        ]
        raise ConfigError("Wrong environment settings:\n  " + "\n  ".join(lines)) from None
