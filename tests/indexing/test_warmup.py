from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

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
    with caplog.at_level(logging.INFO, "indexing"), warmup._say_if_long("exact"):
        time.sleep(0.2)
    assert "Compiling the kernels of layout 'exact'" in caplog.text
    caplog.clear()
    monkeypatch.setattr(warmup, "_PATIENCE_S", 30.0)
    with caplog.at_level(logging.INFO, "indexing"), warmup._say_if_long("exact"):
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


def test_the_first_search_of_a_live_collection_loads_no_kernel(tmp_path: Path) -> None:
    # In a process of its own: the kernels of this one are loaded long since.
    code = f"""
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from indexing import kernels
from indexing.collection import Collection
from indexing.warmup import warm_up_live
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary

def loaded():
    return {{n: len(f.signatures) for n, f in vars(kernels).items() if isinstance(f, Dispatcher)}}

vocabulary = Vocabulary("abc")
with Collection.create(
    Path({str(tmp_path)!r}) / "live", vocabulary, encoder="none", idf="none", background=False
) as live:
    warm_up_live("exact", 3)
    before = loaded()
    assert sum(before.values()) > 0
    vector = SparseVector.from_mapping({{0: 1.0}}, 3)
    live.upsert([Document("a", "", metadata={{"x": 1}})], [vector])
    assert live.search(vector).doc_ids == ["a"]
    assert live.search(vector, filter={{"equals": {{"x": 1}}}}).doc_ids == ["a"]
    print({{name: n for name, n in loaded().items() if n > before[name]}})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.strip() == "{}"
