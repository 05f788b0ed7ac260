"""A run that leaves its path says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lsr.training.distributed import Processes
from lsr.training.optimization import GradientWatch, clip_gradients
from lsr.training.pipeline import Pipeline


def observed(norms: list[float]) -> list[float | None]:
    watch = GradientWatch()
    return [watch.observe(norm) for norm in norms]


def test_gradients_that_grow_slowly_or_fall_are_usual() -> None:
    falling = [9.7 * 0.95**i for i in range(60)]
    assert observed(falling) == [None] * 60
    assert observed(falling[::-1]) == [None] * 60


def test_each_departure_is_told_once_with_the_usual_norm() -> None:
    # As the run was lost from which the factor comes: 2.7 for 3,000 steps, then 12 to 45.
    told = observed([2.7] * 12 + [31.6, 45.0, 12.2] + [2.8] + [18.0])
    assert told[12] == pytest.approx(2.7)
    assert told[16] == pytest.approx(2.7)
    assert [x for i, x in enumerate(told) if i not in (12, 16)] == [None] * 15


def test_the_first_norms_of_a_run_are_not_judged() -> None:
    assert observed([1.0, 18.0, 1.0, 30.0]) == [None] * 4


def test_training_warns_and_goes_on(
    recipe: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = iter(range(100))

    def clip(parameters: Any, limit: float) -> torch.Tensor:
        norm = clip_gradients(parameters, limit)
        return norm * 50 if next(calls) >= 14 else norm

    monkeypatch.setattr("lsr.training.train.clip_gradients", clip)
    one = Processes(0, 1, torch.device("cpu"))
    with caplog.at_level(logging.WARNING, "lsr.training.train"):
        Pipeline(recipe(steps=16, log_every=1), tmp_path / "run", tmp_path / "data", one).run(
            ("tokenise", "train")
        )
    warnings = [r.message for r in caplog.records if "may diverge" in r.message]
    assert len(warnings) == 1 and warnings[0].startswith("Step 15: ")
