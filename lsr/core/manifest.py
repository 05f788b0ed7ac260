"""What stands in ``manifest.json`` beside every artefact: origin, config, machine, files."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FileEntry", "Machine", "Manifest", "describe_machine", "source_commit"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file of an artefact."""

    bytes: int
    sha256: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None


class Machine(_Frozen):
    """Where an artefact was made."""

    system: str
    processor: str
    n_cores: int
    memory_bytes: int
    python: str
    packages: dict[str, str]


class Manifest(_Frozen):
    """The description of one artefact.

    Attributes
    ----------
    kind : str
        What it is: ``"vectors"``, ``"index"``, ``"encoder"``, ``"run"``, ``"report"`` …
    format_version : int
        Version of the layout of this kind; a reader refuses what it does not know.
    details : dict
        What only this kind has: counts, the vocabulary's fingerprint, the idf convention …
    config, config_hash : dict, str
        The resolved configuration, and its hash.
    files : dict of FileEntry
        By path below the artefact's folder; ``manifest.json`` itself is not listed.
    """

    kind: str
    format_version: int
    created: str
    lsr_version: str
    commit: str | None
    machine: Machine
    seed: int | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    config_hash: str = ""
    details: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @classmethod
    def new(
        cls,
        kind: str,
        format_version: int,
        *,
        details: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        config_hash: str = "",
        seed: int | None = None,
    ) -> Manifest:
        """Return a manifest of now, here, with this release."""
        return cls(
            kind=kind,
            format_version=format_version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            lsr_version=lsr_version(),
            commit=source_commit(),
            machine=describe_machine(),
            seed=seed,
            config=config or {},
            config_hash=config_hash,
            details=details or {},
        )


@functools.cache
def lsr_version() -> str:
    """Return the installed version of the distribution, or ``"0+unknown"`` in a bare checkout."""
    try:
        return metadata.version("lsr-search")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@functools.cache
def source_commit() -> str | None:
    """Return the commit of the checkout this runs from (``+`` if changed), else None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=False, capture_output=True, text=True, timeout=5
        )
        if head.returncode != 0:
            return None
        state = subprocess.run(
            [*git, "status", "--porcelain", "-uno"],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if state.stdout.strip() else "")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def describe_machine() -> Machine:
    """Return processor, cores, memory and the versions of the packages that decide results."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 0
    packages = {}
    for name in ("numpy", "scipy", "numba", "torch", "transformers", "tokenizers"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        n_cores=os.cpu_count() or 1,
        memory_bytes=memory,
        python=sys.version.split()[0],
        packages=packages,
    )
