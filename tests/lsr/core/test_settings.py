from __future__ import annotations

from collections.abc import Iterator

import pytest

from lsr.core.errors import ConfigError
from lsr.core.settings import get_settings


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_environment_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_THREADS", "3")
    monkeypatch.delenv("LSR_HOME", raising=False)
    settings = get_settings()
    assert settings.threads == 3
    assert settings.home.name == "lsr"


def test_every_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_THREADS", "many")
    monkeypatch.setenv("LSR_LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigError) as caught:
        get_settings()
    assert "LSR_THREADS" in str(caught.value) and "LSR_LOG_LEVEL" in str(caught.value)
