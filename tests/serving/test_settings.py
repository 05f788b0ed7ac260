from __future__ import annotations

from pathlib import Path

import pytest

from lsr.core.errors import ConfigError
from lsr.core.settings import load_settings
from serving.settings import ServeSettings, is_loopback, name_indexes


def test_safe_defaults() -> None:
    settings = load_settings(ServeSettings)
    assert settings.host == "127.0.0.1"
    assert "localhost" in settings.answered_hosts
    assert "*" not in settings.answered_hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_no_listening_beyond_this_machine_without_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="lsr keys add") as caught:
        load_settings(ServeSettings, host=host)
    assert host in str(caught.value) and "--allow-remote" in str(caught.value)
    assert load_settings(ServeSettings, host=host, allow_remote=True).answered_hosts == ("*",)
    with_keys = load_settings(ServeSettings, host=host, keys_file=Path("keys.json"))
    assert with_keys.answered_hosts == ("*",)


def test_environment_then_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_SERVE_PORT", "9001")
    monkeypatch.setenv("LSR_SERVE_ALLOWED_HOSTS", "a.example,b.example")
    settings = load_settings(ServeSettings)
    assert (settings.port, settings.allowed_hosts) == (9001, ("a.example", "b.example"))
    assert load_settings(ServeSettings, port=9002).port == 9002
    monkeypatch.setenv("LSR_SERVE_PORT", "many")
    monkeypatch.setenv("LSR_SERVE_MAX_BATCH", "0")
    with pytest.raises(ConfigError) as caught:
        load_settings(ServeSettings, threads=0)
    for name in ("LSR_SERVE_PORT", "LSR_SERVE_MAX_BATCH", "--threads"):
        assert name in str(caught.value)


def test_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org")))


def test_names_of_indexes(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "index", tmp_path / "b" / "index"]
    named = name_indexes(paths, ["first"])
    assert [(source.name, source.path) for source in named] == [
        ("first", paths[0]),
        ("index", paths[1]),
    ]
    with pytest.raises(ConfigError, match="Two indexes would be served as 'index'"):
        name_indexes(paths, [])
    with pytest.raises(ConfigError, match="3 --name options for 2 indexes"):
        name_indexes(paths, ["a", "b", "c"])
    with pytest.raises(ConfigError, match="cannot be called 'a/b'"):
        name_indexes(paths[:1], ["a/b"])
