from __future__ import annotations

import logging
import time

import pytest

from indexing import warmup
from indexing.threads import limit_threads, resolve_threads
from lsr.core.errors import ArgumentError, ArtifactFormatError


@pytest.mark.parametrize("layout", ["exact", "seismic"])
def test_warm_up(layout: str) -> None:
    assert warmup.warm_up(layout) > 0


def test_unknown_layout() -> None:
    with pytest.raises(ArtifactFormatError, match="knows no index layout 'x'"):
        warmup.warm_up("x")


def test_a_line_says_that_the_compiler_is_at_work(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(logging.getLogger("indexing"), "propagate", True)
    with caplog.at_level(logging.INFO), warmup._say_if_long("exact"):
        time.sleep(0.2)
    assert "Compiling the kernels of layout 'exact'" in caplog.text
    caplog.clear()
    monkeypatch.setattr(warmup, "_PATIENCE_S", 30.0)
    with caplog.at_level(logging.INFO), warmup._say_if_long("exact"):
        pass
    assert not caplog.text


def test_limit_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resolve_threads(None)
    with limit_threads(2):
        assert resolve_threads(7) == 2
        assert resolve_threads(1) == 1
        assert resolve_threads(None) == min(before, 2)
        with limit_threads(1):
            assert resolve_threads(None) == 1
        assert resolve_threads(7) == 2
    assert resolve_threads(None) == before
    with pytest.raises(ArgumentError), limit_threads(0):
        pass
