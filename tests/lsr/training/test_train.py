"""The loop: resumed, cached, in two processes and in pieces, it is the same training."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lsr.core.errors import ArtifactExistsError, ConfigError, TrainingError
from lsr.encoders.lexical import LexicalEncoder
from lsr.training.distributed import Processes, processes
from lsr.training.logs import write_json_line
from lsr.training.pipeline import Pipeline
from lsr.training.train import Trainer

ONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def train(config: Any, out: Path, data: Path, **kwargs: Any) -> list[dict[str, Any]]:
    Pipeline(config, out, data, ONE).run(("tokenise", "lexical", "train"), **kwargs)
    return read_log(out)


def read_log(out: Path) -> list[dict[str, Any]]:
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def curve(records: list[dict[str, Any]], key: str = "loss") -> list[float]:
    return [r[key] for r in records if r["stage"] == "train"]


def parameters(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(out / "checkpoint" / "parameters.safetensors")


def test_the_loss_falls(recipe: Callable[..., Any], tmp_path: Path, data: Path) -> None:
    fast = {"learning_rate": 3e-3, "warmup_steps": 5}
    config = recipe(steps=60, optimizer=fast)
    config = config.model_copy(update={"model": config.model.model_copy(update={"dropout": 0.0})})
    losses = curve(train(config, tmp_path / "run", data))
    assert sum(losses[-15:]) < 0.93 * sum(losses[:15])


@pytest.mark.parametrize("kind", ["flops", "df-flops"])
def test_a_killed_run_goes_on_to_the_same_figures(
    recipe: Callable[..., Any], tmp_path: Path, data: Path, kind: str
) -> None:
    config = recipe(
        document_regularizer={"kind": kind, "weight": 1e-2, "df_every": 2, "warmup_steps": 3},
        controller={"target_doc_terms": 20, "ramp_steps": 3},
    )
    whole = train(config, tmp_path / "whole", data)
    train(config, tmp_path / "cut", data, minutes=1e-9)
    assert read_log(tmp_path / "cut")[-1]["step"] == 1
    resumed = train(config, tmp_path / "cut", data)
    assert curve(resumed) == curve(whole)
    assert curve(resumed, "lambda_doc") == curve(whole, "lambda_doc")
    a, b = parameters(tmp_path / "whole"), parameters(tmp_path / "cut")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_was_killed_between_checkpoints_logs_no_step_twice(
    recipe: Callable[..., Any], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(steps=9, checkpoint_every=2, log_every=3)
    whole = train(config, tmp_path / "whole", data)
    step = Trainer.train_step

    def killed(self: Trainer, rows: Any) -> Any:
        if self.step == 7:
            raise KeyboardInterrupt
        return step(self, rows)

    monkeypatch.setattr(Trainer, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", data)
    monkeypatch.setattr(Trainer, "train_step", step)
    write_json_line(tmp_path / "cut" / "log.jsonl", {"stage": "train", "step": 7, "loss": 0})
    resumed = train(config, tmp_path / "cut", data)
    assert [r["step"] for r in resumed] == [r["step"] for r in whole]
    assert curve(resumed) == curve(whole)


def test_checkpointed_layers_give_the_same_training(
    recipe: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    config = recipe(steps=2)
    execution = config.execution.model_copy(update={"checkpoint_layers": True})
    plain = train(config, tmp_path / "plain", data)
    again = train(config.model_copy(update={"execution": execution}), tmp_path / "again", data)
    assert curve(again) == pytest.approx(curve(plain), rel=1e-5)


def test_another_recipe_does_not_resume(
    recipe: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    train(recipe(), tmp_path / "run", data, minutes=1e-9)
    with pytest.raises(TrainingError, match="made with recipe"):
        train(recipe(teacher_scale=7.0), tmp_path / "run", data)


def test_prepared_data_of_other_values_is_refused(
    recipe: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    train(recipe(), tmp_path / "run", data)
    other = recipe().data.model_copy(update={"max_document_tokens": 16})
    with pytest.raises(ArtifactExistsError, match="max_document_tokens"):
        train(recipe(data=other.model_dump()), tmp_path / "other", data)


def test_unknown_stage(recipe: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown stage 'cook'"):
        Pipeline(recipe(), tmp_path, tmp_path / "data", ONE).run(("cook",))


@pytest.mark.parametrize("query", ["idf", "mlm"])
def test_cached_gradients_are_the_gradients(
    recipe: Callable[..., Any], tmp_path: Path, data: Path, query: str
) -> None:
    config = recipe(steps=3)
    model = config.model.model_copy(update={"query": query})
    plain = config.model_copy(update={"model": model})
    execution = plain.execution.model_copy(update={"cache_gradients": True})
    train(plain, tmp_path / "plain", data)
    train(plain.model_copy(update={"execution": execution}), tmp_path / "cached", data)
    a, b = parameters(tmp_path / "plain"), parameters(tmp_path / "cached")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=2e-6)


def test_all_documents_empty_stops_with_the_name_of_lambda(
    recipe: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    config = recipe(
        steps=40,
        losses=[{"kind": "kl", "weight": 1e-9}],
        document_regularizer={"weight": 1e4, "warmup_steps": 0},
        optimizer={"learning_rate": 0.3, "warmup_steps": 0, "max_gradient_norm": 1e9},
    )
    with pytest.raises(TrainingError, match="document λ"):
        train(config, tmp_path / "run", data)


def train_as_rank(rank: int, port: int, config: Any, out: Path, data: Path) -> None:
    os.environ |= {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }
    with processes("cpu") as group:
        assert group.count == 2
        Pipeline(config, out, data, group).run(("train",))


@pytest.mark.parametrize("lexical", [False, True])
def test_two_processes_train_as_one(
    recipe: Callable[..., Any], pairs_file: Path, tmp_path: Path, data: Path, lexical: bool
) -> None:
    config = recipe(
        steps=3,
        document_regularizer={"weight": 1e-2, "warmup_steps": 0},
        controller={"target_doc_terms": 20, "ramp_steps": 3},
    )
    model: dict[str, Any] = {"dropout": 0.0}
    if lexical:
        model["lexical"] = tmp_path / "lexical"
        texts = pairs_file.read_text(encoding="utf-8").splitlines()
        LexicalEncoder.fit(json.loads(text)["positive"] for text in texts).save(model["lexical"])
    config = config.model_copy(update={"model": config.model.model_copy(update=model)})
    train(config, tmp_path / "one", data)
    port = 20000 + os.getpid() % 20000
    # Forked, so that torch is not imported again; nothing runs in threads here.
    fork = multiprocessing.get_context("fork")
    ranks = [
        fork.Process(target=train_as_rank, args=(r, port, config, tmp_path / "two", data))
        for r in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [p.exitcode for p in ranks] == [0, 0]
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    for key in ("loss", "lambda_doc", "doc_terms", "flops"):
        assert curve(two, key) == pytest.approx(curve(one, key), rel=1e-4)
    a, b = parameters(tmp_path / "one"), parameters(tmp_path / "two")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


def test_bf16_trains_too(recipe: Callable[..., Any], tmp_path: Path, data: Path) -> None:
    config = recipe(steps=2, warmup={"steps": 2, "batch_size": 8, "max_tokens": 32})
    execution = config.execution.model_copy(update={"precision": "bf16"})
    config = config.model_copy(update={"execution": execution, "start_terms": 20})
    out = tmp_path / "run"
    assert Pipeline(config, out, data, ONE).run(("tokenise", "warmup", "train"))
    assert curve(read_log(out))[0] > 0
