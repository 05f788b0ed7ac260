from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from lsr.core.config import Config, config_hash, load_config, parse_override
from lsr.core.errors import ConfigError


class Cap(Config):
    kind: Literal["cap"] = "cap"
    n_postings: int = Field(default=2000, ge=1)


class Threshold(Config):
    kind: Literal["global-threshold"] = "global-threshold"
    max_fraction: float = 1.5


class Root(Config):
    pruning: Annotated[Cap | Threshold, Field(discriminator="kind")] = Cap()
    seed: int = 0
    name: str = ""


def test_file_then_overrides(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('seed = 3\n[pruning]\nkind = "cap"\nn_postings = 10\n')
    config = load_config(Root, path, ["pruning.n_postings=20", "name=two words"])
    assert config == Root(pruning=Cap(n_postings=20), seed=3, name="two words")
    assert load_config(Root, values={"seed": 9}).seed == 9


def test_all_problems_at_once_with_near_names() -> None:
    overrides = ["pruning.kind=cap", "pruning.n_posting=5", "sed=1", "name=[1]"]
    with pytest.raises(ConfigError) as caught:
        load_config(Root, overrides=overrides)
    text = str(caught.value)
    assert "3 problems" in text
    assert "n_posting: unknown key. Did you mean 'n_postings'?" in text
    assert "sed: unknown key. Did you mean 'seed'?" in text
    assert "name:" in text and "[1]" in text


def test_a_field_of_another_union_member_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="max_fraction: unknown key"):
        load_config(Root, overrides=["pruning.kind=cap", "pruning.max_fraction=2"])
    with pytest.raises(ConfigError, match="pruning"):
        load_config(Root, overrides=["pruning.kind=banana"])


@pytest.mark.parametrize("override", ["seed", "=1", "a..b=1"])
def test_malformed_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_override(override)


def test_broken_or_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No config file"):
        load_config(Root, tmp_path / "none.toml")
    (tmp_path / "c.toml").write_text("seed = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(Root, tmp_path / "c.toml")


def test_a_value_is_no_table() -> None:
    with pytest.raises(ConfigError, match="'seed' is a value"):
        load_config(Root, overrides=["seed=1", "seed.x=2"])


def test_the_hash_follows_the_values() -> None:
    assert config_hash(Root()) == config_hash(load_config(Root))
    assert config_hash(Root()) != config_hash(Root(seed=1))


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Root().seed = 2  # type: ignore[misc]
