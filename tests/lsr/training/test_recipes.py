"""Every shipped recipe is a config, and its method trains, saves and loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lsr.core.config import load_config
from lsr.core.errors import ConfigError
from lsr.encoders import load_encoder
from lsr.training.config import TrainConfig
from lsr.training.distributed import Processes
from lsr.training.pipeline import Pipeline
from lsr.training.recipe_files import find_recipe, recipe_names


def test_names_and_near_names() -> None:
    assert {"lsr-mini", "lsr-tiny", "splade-max", "unicoil"} <= set(recipe_names())
    with pytest.raises(ConfigError, match="Did you mean 'lsr-mini'"):
        find_recipe("lsr-min")


# One of each shape by default; the others differ in numbers.
QUICK = ("lsr-mini", "splade-v1", "splade-efficient", "unicoil", "deepimpact")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_a_config(name: str) -> None:
    config = load_config(TrainConfig, find_recipe(name))
    assert config.name == name
    assert config.data.max_document_tokens >= 128
    assert find_recipe(name).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in recipe_names()],
)
def test_a_recipe_trains_saves_and_loads(
    name: str, backbone: Path, pairs_file: Path, tmp_path: Path
) -> None:
    config = load_config(TrainConfig, find_recipe(name))
    dump: dict[str, Any] = config.model_dump(mode="json")
    dump["data"] = {"pairs": [str(pairs_file)], "max_document_tokens": 32, "n_held_out": 8}
    own = any(loss.get("candidates", "batch") == "own" for loss in dump["losses"])
    dump["teachers"] = [{"kind": "bm25", "name": "bm25"}] if dump["teachers"] else []
    dump |= {"negatives": None, "steps": 2, "batch_queries": 4, "log_every": 1}
    dump["documents_per_query"] = 3 if own else 2
    dump["model"] |= {"backbone": str(backbone), "max_length": None}
    dump["warmup"]["steps"] = min(dump["warmup"]["steps"], 1)
    dump["warmup"]["batch_size"] = 4
    dump["start_terms"] = min(dump["start_terms"], 20)
    small = TrainConfig.model_validate(dump)
    out = tmp_path / "run"
    assert Pipeline(small, out, out / "data", Processes(0, 1, torch.device("cpu"))).run()
    encoder = load_encoder(out / "model", device="cpu")
    assert encoder.encode_queries(["the warm cat", "dog"]).n_rows == 2
    assert encoder.encode_documents(["the cat sat on the mat"]).nnz > 0  # type: ignore[union-attr]
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    assert f"# {name}" in card
    assert "| even | " in card
    assert str(tmp_path) not in (out / "model" / "recipe.json").read_text(encoding="utf-8")
