"""Every combination of sides is built as the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from lsr.core.errors import ModelFormatError
from lsr.encoders.torch_sides import LookupSide, MaskedLMSide, TermWeightSide
from lsr.training.network import ScalarSide, build_network, load_masked_lm, model_folder
from lsr.training.optimization import build_optimizer, learning_rate_share

SPECIAL = {"cls": 2, "sep": 3, "pad": 0, "mask": 4, "unk": 1}


@pytest.fixture
def idf(backbone: Path) -> torch.Tensor:
    size = load_masked_lm(backbone)[0].config.vocab_size
    return torch.linspace(0.5, 5.0, size)


def build(config: Any, idf: torch.Tensor, **model: Any) -> Any:
    changed = config.model.model_copy(update=model)
    return build_network(config.model_copy(update={"model": changed}), idf=idf, special=SPECIAL)[0]


def test_sides(recipe: Callable[..., Any], idf: torch.Tensor, backbone: Path) -> None:
    config = recipe()
    siamese = build(config, idf, query="mlm")
    assert siamese.shared
    assert isinstance(siamese.query_side(), MaskedLMSide)
    apart = build(config, idf, query="mlm", query_backbone=str(backbone))
    assert apart.query_side() is not apart.document
    assert isinstance(build(config, idf, query="learned").query, LookupSide)
    assert isinstance(build(config, idf, query="binary").query, ScalarSide)
    frozen = build(config, idf, query="binary", train_query_weights=False).query
    assert not frozen.weight.requires_grad
    mixed = build(config, idf, query="term-weight")
    assert isinstance(mixed.query, TermWeightSide)
    deep = build(config, idf, query="binary", document="term-weight", head_width=7)
    assert deep.document.head[0].out_features == 7


def test_a_term_weight_head_starts_alive(recipe: Callable[..., Any], idf: torch.Tensor) -> None:
    side = build(recipe(), idf, query="binary", document="term-weight").document.eval()
    ids = torch.tensor([[2, 20, 30, 20, 3]])
    weights = side(ids, torch.ones_like(ids))
    assert (weights[0, [20, 30]] > 0).all()
    assert (weights > 0).sum() == 2


def test_lookup_tables(recipe: Callable[..., Any], idf: torch.Tensor, tmp_path: Path) -> None:
    ids, mask = torch.tensor([[2, 20, 30, 30, 3, 0]]), torch.tensor([[1, 1, 1, 1, 1, 0]])
    plain = build(recipe(), idf, query="idf").query(ids, mask)
    assert plain[0, 30].item() == pytest.approx(idf[30].item())
    assert (plain > 0).sum() == 2
    scaled = build(recipe(), idf, query="idf", query_scale=0.25).query(ids, mask)
    torch.testing.assert_close(scaled, 0.25 * plain)
    save_file({"weight": 3 * idf}, tmp_path / "table.safetensors")
    saved = build(recipe(), idf, query_weights=tmp_path / "table.safetensors").query(ids, mask)
    torch.testing.assert_close(saved, 3 * plain)
    with pytest.raises(ModelFormatError, match="No table of query weights"):
        build(recipe(), idf, query_weights=tmp_path / "other.safetensors")
    scalar = build(recipe(), idf, query="binary").query
    assert scalar(ids, mask)[0, 20].item() == pytest.approx(0.3)
    assert scalar.weight[2] == 0


def test_a_bare_encoder_gets_a_fresh_tied_head(backbone: Path, tmp_path: Path) -> None:
    masked_lm, fresh = load_masked_lm(backbone)
    assert not fresh
    masked_lm.bert.save_pretrained(tmp_path / "bare")
    model, fresh = load_masked_lm(tmp_path / "bare")
    assert fresh
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    torch.testing.assert_close(
        model.get_input_embeddings().weight, masked_lm.get_input_embeddings().weight
    )


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="No model folder 'all-nowhere'"):
        model_folder("all-nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFormatError, match="no model with a masked-LM form"):
        load_masked_lm(tmp_path / "empty")


def test_query_weights_have_their_own_rate(recipe: Callable[..., Any], idf: torch.Tensor) -> None:
    config = recipe(optimizer={"learning_rate": 1e-5, "query_weights_learning_rate": 1e-2})
    network = build(config, idf, query="idf")
    optimizer = build_optimizer(network, config.optimizer)
    groups = {g["full_rate"]: g for g in optimizer.param_groups if g["full_rate"] == 1e-2}
    assert groups[1e-2]["params"] == [network.query.weight]
    assert all(g["weight_decay"] == 0 for g in optimizer.param_groups if g["params"][0].ndim < 2)
    frozen = build(config, idf, query="idf", train_query_weights=False)
    assert all(
        g["full_rate"] == 1e-5 for g in build_optimizer(frozen, config.optimizer).param_groups
    )


@pytest.mark.parametrize(
    ("decay", "wanted"),
    [("linear", [0.5, 1, 1, 0.5, 0.25]), ("none", [0.5, 1, 1, 1, 1])],
)
def test_learning_rate(decay: str, wanted: list[float]) -> None:
    seen = [learning_rate_share(s, steps=10, warmup_steps=2, decay=decay) for s in (0, 1, 2, 6, 8)]
    assert seen == pytest.approx(wanted)


def test_cosine_ends_at_nothing() -> None:
    share = [learning_rate_share(s, steps=10, warmup_steps=0, decay="cosine") for s in (0, 5, 10)]
    assert share == pytest.approx([1, 0.5, 0])
