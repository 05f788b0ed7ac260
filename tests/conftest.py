"""Fixtures of all tests: no network, quiet single-threaded numerics, a home of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Before any library reads them: tests are many and small, threads only get in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples in every run, and as long as they take: a busy machine is no failure.
# `--hypothesis-profile=thorough` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("same")

# Where kernels are compiled for both widths of terms comes first, so that the processes of one run
# seldom compile the same kernel, and nothing long is left for the end.
FIRST = ("test_clustered.py", "test_kernels_seismic.py", "test_seismic.py", "test_workers.py")

LOCAL = ("127.0.0.1", "::1", "localhost")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Connections leave this machine in no test."""
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise OSError(f"A test tried to reach {address[0]!r}.")
        original(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("LSR_HOME", str(tmp_path_factory.getbasetemp() / "lsr-home"))


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real collections beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED_DATA


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring the longest forward; leave out what is off by default unless ``-m`` asks for it."""
    rank = {name: at for at, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    if config.option.markexpr:
        return
    for item in items:
        for marker in ("slow", "gpu", "ray", "bench", "browser"):
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{marker}: off by default, use -m"))
