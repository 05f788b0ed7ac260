"""A tiny training set, recipe and pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny_model import WORDS, tiny_masked_lm


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return tiny_masked_lm(tmp_path_factory.mktemp("model") / "tiny", seed=3)


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    words = [w for w in WORDS if len(w) > 2]
    path = tmp_path_factory.mktemp("pairs") / "train.jsonl"
    with open(path, "w", encoding="utf-8") as out:
        for number in range(120):
            text = [str(w) for w in rng.choice(words, size=rng.integers(8, 20))]
            query = " ".join(rng.permutation(text)[:3])
            middle = len(text) // 2
            passage = " ".join(text[:middle]) + ". " + " ".join(text[middle:]) + "."
            source = "odd" if number % 2 else "even"
            line = {"query": query, "positive": passage, "source": source}
            out.write(json.dumps(line) + "\n")
    return path


@pytest.fixture
def recipe(backbone: Path, pairs_file: Path) -> Callable[..., Any]:
    """Return a function from changed values to a TrainConfig."""
    from lsr.training.config import TrainConfig

    def make(**changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "name": "tiny",
            "steps": 6,
            "batch_queries": 8,
            "documents_per_query": 3,
            "log_every": 1,
            "checkpoint_every": 100,
            "data": {
                "pairs": [str(pairs_file)],
                "max_document_tokens": 32,
                "max_query_tokens": 16,
                "n_held_out": 10,
            },
            "model": {"backbone": str(backbone), "dropout": 0.1},
            "teachers": [{"kind": "bm25", "name": "bm25"}],
            "losses": [{"kind": "kl"}, {"kind": "info-nce", "weight": 0.2}],
            # A large epsilon makes Adam's update follow the gradient's size: a parameter whose
            # gradient is rounding noise (a key's bias) then stays, and runs can be compared.
            "optimizer": {"learning_rate": 0.1, "warmup_steps": 2, "epsilon": 0.1},
            "execution": {"micro_documents": 8, "projection_bytes": 1 << 16},
        }
        return TrainConfig.model_validate({**values, **changes})

    return make
