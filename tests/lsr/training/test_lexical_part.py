"""Lexical scores beside the learned ones: the same numbers, trained tables, a saved channel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lsr.core.errors import ArtifactExistsError, ModelFormatError
from lsr.encoders import load_encoder
from lsr.encoders.lexical import LexicalConfig, LexicalEncoder
from lsr.training.distributed import Processes
from lsr.training.lexical_part import LexicalPart, LexicalTable, load_lexical
from lsr.training.pipeline import Pipeline

ONE = Processes(0, 1, torch.device("cpu"))
PREPARE = ("tokenise", "lexical")


@pytest.fixture(scope="module")
def lines(pairs_file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in pairs_file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def lexical(lines: list[dict[str, str]], tmp_path: Path) -> Path:
    config = LexicalConfig(max_terms=20, buckets=7)
    path = tmp_path / "lexical"
    LexicalEncoder.fit([line["positive"] for line in lines], config=config).save(path)
    return path


def with_lexical(config: Any, lexical: Path, **model: Any) -> Any:
    changed = {"lexical": lexical, "lexical_weight": 0.5, **model}
    return config.model_copy(update={"model": config.model.model_copy(update=changed)})


def test_the_scores_are_those_of_the_lexical_encoder(
    recipe: Callable[..., Any], lexical: Path, lines: list[dict[str, str]], tmp_path: Path
) -> None:
    config = with_lexical(recipe(), lexical)
    pipeline = Pipeline(config, tmp_path / "run", tmp_path / "data", ONE)
    pipeline.run(PREPARE)
    encoder = load_lexical(lexical)
    table = LexicalTable(tmp_path / "data" / "lexical")
    part = LexicalPart(table, 0.5 * torch.from_numpy(encoder.weights), trainable=True)
    n_queries = len(table.queries_offsets) - 1
    n_passages = len(table.passages_offsets) - 1
    with torch.no_grad():
        found = part.queries(np.arange(n_queries)) @ part.documents(np.arange(n_passages)).T
    queries = encoder.encode_queries([line["query"] for line in lines]).to_scipy()
    passages = encoder.encode_documents([line["positive"] for line in lines]).to_scipy()
    wanted = 0.5 * (queries @ passages.T).toarray()
    # The table has the unique texts in its own order, so the sorted scores are compared.
    assert n_queries == n_passages == len(lines)
    np.testing.assert_allclose(
        np.sort(found.numpy(), axis=None), np.sort(wanted, axis=None), atol=0.02
    )
    assert wanted.max() > 1


def test_the_losses_see_the_sum(recipe: Callable[..., Any], lexical: Path, tmp_path: Path) -> None:
    """With a learned part that is switched off, the student's scores are the lexical ones."""
    config = with_lexical(recipe(losses=[{"kind": "info-nce"}], teachers=[]), lexical)
    pipeline = Pipeline(config, tmp_path / "run", tmp_path / "data", ONE)
    pipeline.run(PREPARE)
    from lsr.training.train import Trainer

    pairs = pipeline.pairs()
    sampler = pipeline.sampler(pairs)
    trainer = Trainer(
        config, pipeline.network(pairs), pairs, sampler, pipeline.panel(pairs),
        group=ONE, checkpoint=tmp_path / "checkpoint", log=lambda record: None,
    )  # fmt: skip
    rows = sampler.rows(0)
    size = pairs.vocabulary_size
    none_q, none_d = torch.zeros(len(rows.queries), size), torch.zeros(len(rows.documents), size)
    loss, _ = trainer._forward(rows, none_q, none_d)
    part = trainer.network.lexical
    assert part is not None
    scores = part.queries(rows.queries) @ part.documents(rows.documents).T
    first = torch.arange(len(scores)) * sampler.group
    others = torch.from_numpy(rows.positives).clone()
    others[torch.arange(len(scores)), first] = False
    wanted = torch.nn.functional.cross_entropy(scores.masked_fill(others, -torch.inf), first)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    loss.backward()
    assert part.weight.grad is not None
    assert float(part.weight.grad.abs().sum()) > 0


def test_frozen_documents_leave_the_tables_to_train(
    recipe: Callable[..., Any], lexical: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = with_lexical(recipe(), lexical, train_document=False)
    pipeline = Pipeline(config, tmp_path / "run", tmp_path / "data", ONE)
    pipeline.run((*PREPARE, "train", "save"))
    trained = load_file(tmp_path / "run" / "checkpoint" / "parameters.safetensors")
    start = pipeline.network(pipeline.pairs()).state_dict()
    changed = {name for name in trained if not torch.equal(trained[name], start[name])}
    assert changed == {"query.weight", "lexical.weight"}
    saved = load_encoder(tmp_path / "run" / "lexical")
    fitted = load_lexical(lexical)
    assert isinstance(saved, LexicalEncoder)
    assert saved.config == fitted.config
    assert saved.vocabulary.fingerprint == fitted.vocabulary.fingerprint
    expected = np.maximum(trained["lexical.weight"].numpy(), 0) / 0.5
    np.testing.assert_allclose(saved.weights, expected, rtol=1e-3, atol=1e-3)
    assert (
        len(load_encoder(tmp_path / "run" / "model").vocabulary) == pipeline.pairs().vocabulary_size
    )


def test_a_query_network_leaves_nothing_to_train_without_documents(
    recipe: Callable[..., Any], backbone: Path
) -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        recipe(model={"backbone": str(backbone), "query": "mlm", "train_document": False})


def test_prepared_vectors_of_another_encoder_are_refused(
    recipe: Callable[..., Any], lexical: Path, tmp_path: Path
) -> None:
    Pipeline(with_lexical(recipe(), lexical), tmp_path / "a", tmp_path / "data", ONE).run(PREPARE)
    other = tmp_path / "other"
    LexicalEncoder.fit(["stone river", "cloud"]).save(other)
    with pytest.raises(ArtifactExistsError, match="other values of lexical_encoder"):
        Pipeline(with_lexical(recipe(), other), tmp_path / "b", tmp_path / "data", ONE).run(PREPARE)


def test_another_kind_of_encoder_is_refused(
    recipe: Callable[..., Any], backbone: Path, tmp_path: Path
) -> None:
    config = with_lexical(recipe(), backbone)
    with pytest.raises(ModelFormatError, match="no lexical encoder"):
        Pipeline(config, tmp_path / "run", tmp_path / "data", ONE).run(PREPARE)
