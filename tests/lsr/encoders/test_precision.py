from collections.abc import Iterator

import pytest
import torch

from lsr.core.errors import ArgumentError
from lsr.encoders import precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    precision._fastest.cache_clear()
    yield
    precision._fastest.cache_clear()


@pytest.mark.parametrize(
    ("bfloat16_seconds", "chosen"),
    [(0.5, torch.bfloat16), (0.9, torch.float32), (3.0, torch.float32)],
)
def test_the_faster_format_is_chosen_where_it_wins_clearly(
    monkeypatch: pytest.MonkeyPatch, bfloat16_seconds: float, chosen: torch.dtype
) -> None:
    measured = {"float32": 1.0, "bfloat16": bfloat16_seconds}
    monkeypatch.setattr(precision, "measure_dtypes", lambda device: measured)
    assert precision.choose_dtype(CPU) == chosen


def test_a_name_overrides_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(device: str) -> dict[str, float]:
        raise AssertionError("measured")

    monkeypatch.setattr(precision, "measure_dtypes", never)
    assert precision.choose_dtype(CPU, "float16") == torch.float16
    with pytest.raises(ArgumentError, match="float32, bfloat16, float16"):
        precision.choose_dtype(CPU, "half")


def test_this_processor_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_TOKENS", 8)
    monkeypatch.setattr(precision, "_TERMS", 64)
    seconds = precision.measure_dtypes("cpu")
    assert set(seconds) == {"float32", "bfloat16"}
    assert all(s > 0 for s in seconds.values())


def test_devices() -> None:
    assert precision.choose_device("cpu") == CPU
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert precision.choose_device(None).type == expected
    with pytest.raises(ArgumentError, match="cannot be used here"):
        precision.choose_device("cuda:99")
