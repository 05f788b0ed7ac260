"""The recall of live searches, measured beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lsr.core.errors import StorageError
from serving.app import create_app
from serving.engine import Engine
from serving.probe import RecallProbe
from serving.settings import IndexSource, ServeSettings


def until(happened: Callable[[], object]) -> None:
    for _ in range(500):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture
def probe() -> RecallProbe:
    return RecallProbe(1.0, share_of_time=1.0)


def test_recall_is_that_of_the_comparison_with_exact(pruned_path: Path, probe: RecallProbe) -> None:
    from serving.results import Detail

    engine = Engine.open(pruned_path, name="pruned")
    engine.warm_up()
    compared = engine.search("edison network new york", 5, detail=Detail(comparison=True))
    assert compared.comparison is not None
    assert compared.comparison.overlap < 1
    engine.probe = probe
    engine.search("edison network new york", 5)
    until(probe.counts)
    assert probe.recalls() == [(("pruned", "5"), compared.comparison.overlap)]
    assert probe.counts() == [(("pruned", "5"), 1.0)]
    # Exact searches miss nothing, and are not drawn.
    assert not probe.draw(engine.params({"exact": True}))
    probe.close()
    engine.close()


def test_a_write_in_between_and_an_error_are_left_out(
    pruned_path: Path, probe: RecallProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.open(pruned_path, name="pruned")
    engine.warm_up()
    engine.probe = probe
    numbers = iter(range(100))
    monkeypatch.setattr(
        type(engine.source), "generation", property(lambda self: next(numbers)), raising=True
    )
    engine.search("edison", 5)
    until(lambda: not probe._busy)
    assert probe.recalls() == []
    monkeypatch.undo()
    searched = []

    def fail(*args: object, **kwargs: object) -> None:
        searched.append(args)
        raise StorageError("The disk is gone.")

    answered = engine.search("edison", 5)
    until(probe.counts)
    monkeypatch.setattr(probe, "_random", type("Always", (), {"random": lambda self: 0.0})())
    source = engine.source
    original = source.search

    def fails_in_the_background(*args: object, params: object = None, **kwargs: object) -> object:
        if getattr(params, "exact", False):
            fail()
        return original(*args, params=params, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "search", fails_in_the_background)
    assert [h.doc_id for h in engine.search("edison", 5).hits] == [h.doc_id for h in answered.hits]
    until(lambda: searched and not probe._busy)
    assert probe.counts() == [(("pruned", "5"), 1.0)]
    probe.close()
    engine.close()


def test_it_takes_no_more_than_its_share_of_time(pruned_path: Path) -> None:
    probe = RecallProbe(1.0, share_of_time=0.001)
    engine = Engine.open(pruned_path, name="pruned")
    engine.warm_up()
    engine.probe = probe
    for _ in range(50):
        engine.search("edison", 5)
    until(lambda: not probe._busy)
    assert sum(count for _, count in probe.counts()) <= 3
    probe.close()
    engine.close()


def test_the_gauge_over_http(pruned_path: Path) -> None:
    settings = ServeSettings(allowed_hosts=("testserver",), probe_share=1.0)
    with TestClient(create_app(settings, [IndexSource("pruned", pruned_path)])) as client:
        client.get("/v1/indexes/pruned/search?q=edison+network+new+york&k=5")
        until(lambda: 'lsr_recall{index="pruned",k="5"}' in client.get("/metrics").text)
