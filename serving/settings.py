"""What the service needs to know about its machine: ``LSR_SERVE_…``, then flags."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from indexing.base import MAX_K
from lsr.core.errors import ConfigError
from lsr.core.settings import get_settings

__all__ = ["IndexSource", "ServeSettings", "is_loopback", "name_indexes"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class IndexSource(NamedTuple):
    """An index folder, the name it is served under, and queries its page offers to try."""

    name: str
    path: Path
    examples: tuple[str, ...] = ()


class ServeSettings(BaseSettings):
    """Settings of the HTTP service.

    Attributes
    ----------
    host, port : str, int
        Where to listen. Anything but a loopback address needs `allow_remote` or `keys_file`.
    allow_remote : bool
        Listen beyond this machine without API keys.
    allowed_hosts : tuple of str
        ``Host`` headers that are answered; ``*`` for all. By default loopback names only as long
        as the service listens on loopback without keys, so that a web page cannot reach it
        through a name that it points at 127.0.0.1 (DNS rebinding).
    keys_file : Path, optional
        API keys as ``lsr keys`` writes them. Without it every caller may do everything.
    max_body_bytes : int
        Larger request bodies are answered with 413.
    max_batch : int
        Queries in one batch request.
    max_waiting : int
        Requests that may wait for a thread; more are answered with 503 and ``Retry-After``.
    threads : int
        Searches that run at the same time.
    max_waiting_writes : int
        Writes to one collection that may wait; more are answered with 429 and ``Retry-After``.
    max_inbox_bytes : int
        What background imports may leave waiting for one collection; more is answered with 429.
    max_depth : int
        The deepest result that a search may ask for: ``offset + k``.
    data : Path, optional
        Folder of the collections that are made over HTTP, and of snapshots.
    encoders : tuple of str
        What collections may be made with: ``NAME=PATH``, or a path whose last part is the name.
    dense_encoders : tuple of str
        The bi-encoders that collections may be given for hybrid search; named as `encoders` are.
    read_only : bool
        Open collections for reading, beside the one process that writes.
    workers : int
        Processes that answer searches. With more than one, another one does all writing.
    rate : float, optional
        Requests a second that one caller (an API key, else an address) may make for long; more
        are answered with 429 and ``Retry-After``. No limit by default.
    rate_burst : int
        Requests that a caller may make at once after a rest.
    probe_share : float
        Share of the searches that are answered exhaustively too, in the background, to measure
        recall.
    access_log, log_queries : bool
        One JSON line a request; whether it holds the text of the query.
    shutdown_s : int
        How long running requests may take after a stop signal.
    """

    model_config = SettingsConfigDict(env_prefix="LSR_SERVE_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    allow_remote: bool = False
    # NoDecode: the environment gives names with commas, not the JSON pydantic-settings expects.
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    keys_file: Path | None = None
    max_body_bytes: int = Field(default=4 << 20, ge=1024)
    max_batch: int = Field(default=1000, ge=1)
    max_waiting: int = Field(default=1000, ge=1)
    max_waiting_writes: int = Field(default=128, ge=1)
    max_inbox_bytes: int = Field(default=1 << 30, ge=1024)
    max_depth: int = Field(default=1000, ge=1, le=MAX_K)
    data: Path | None = None
    encoders: Annotated[tuple[str, ...], NoDecode] = ()
    dense_encoders: Annotated[tuple[str, ...], NoDecode] = ()
    read_only: bool = False
    threads: int = Field(default_factory=lambda: get_settings().threads, ge=1, le=1024)
    workers: int = Field(default=1, ge=1, le=256)
    rate: float | None = Field(default=None, gt=0)
    rate_burst: int = Field(default=100, ge=1)
    probe_share: float = Field(default=0.01, ge=0, le=1)
    access_log: bool = True
    log_queries: bool = False
    shutdown_s: int = Field(default=10, ge=0)

    @field_validator("allowed_hosts", "encoders", "dense_encoders", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _safe_host(self) -> ServeSettings:
        if not (is_loopback(self.host) or self.allow_remote or self.keys_file):
            raise ValueError(
                f"{self.host} can be reached from other machines, and there are no API keys: "
                "anyone there could read every document. Make a key with `lsr keys add` and pass "
                "--keys-file, or pass --allow-remote if the network is trusted"
            )
        return self

    @property
    def answered_hosts(self) -> tuple[str, ...]:
        """``Host`` headers that are answered, ``("*",)`` for all."""
        if self.allowed_hosts:
            return self.allowed_hosts
        return LOOPBACK_NAMES if is_loopback(self.host) and self.keys_file is None else ("*",)

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Return whether `host` is a name or address of this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def name_indexes(paths: list[Path], names: list[str]) -> list[IndexSource]:
    """Return the sources of `paths`; unnamed ones are called like their folder.

    Raises
    ------
    ConfigError
        If there are more names than paths, or two indexes would have one name.
    """
    if len(names) > len(paths):
        raise ConfigError(
            f"{len(names)} --name options for {len(paths)} indexes.",
            hint="Give names in the order of the indexes, at most one each.",
        )
    chosen = [*names, *(Path(p).resolve().name for p in paths[len(names) :])]
    for name in chosen:
        if chosen.count(name) > 1:
            raise ConfigError(
                f"Two indexes would be served as {name!r}.",
                hint="Give each its name: --name first --name second",
            )
        if not name or "/" in name:
            raise ConfigError(f"An index cannot be called {name!r}.", hint="Pass --name.")
    return [IndexSource(n, Path(p)) for n, p in zip(chosen, paths, strict=True)]
