from __future__ import annotations

import sys

import numpy as np
import pytest

from eval.memory import peak_memory, read_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_an_allocation_shows_as_anonymous_memory() -> None:
    before = read_memory().anonymous_bytes
    assert before is not None
    with peak_memory(0.005) as peak:
        block = np.ones(64 << 20, dtype=np.uint8)
        peak.update()
        del block
    assert peak.value.anonymous_bytes is not None
    assert peak.value.anonymous_bytes - before > 50 << 20
    assert read_memory().file_backed_bytes is not None
