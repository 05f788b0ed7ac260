import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.core.errors import ArgumentError, ModelFormatError
from lsr.core.sparse import SparseMatrix
from lsr.encoders import Encoder, load_encoder, torch_sides
from lsr.encoders.batched import TextOptions
from lsr.encoders.splade import MaskedLMEncoder
from tests.helpers.tiny_model import TEXTS, tiny_masked_lm

CPU = {"device": "cpu", "dtype": "float32"}


def reference(path: Path, text: str, pooling: str, saturation: int) -> np.ndarray:
    """The definition, from transformers' own forward pass, one text at a time."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(path).eval()
    inputs = AutoTokenizer.from_pretrained(path)(
        text, truncation=True, max_length=64, return_tensors="pt", return_token_type_ids=False
    )
    with torch.no_grad():
        weights = torch.relu(model(**inputs).logits[0])
    for _ in range(saturation):
        weights = torch.log1p(weights)
    pooled = weights.amax(0) if pooling == "max" else weights.sum(0)
    return pooled.numpy()


def dense(matrix: SparseMatrix) -> np.ndarray:
    return matrix.to_scipy().toarray()


@pytest.fixture(scope="module")
def encoder(masked_lm_path: Path) -> MaskedLMEncoder:
    return MaskedLMEncoder.from_folder(masked_lm_path, **CPU)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("saturation", [1, 2])
def test_vectors_are_the_definition(
    masked_lm_path: Path, pooling: Literal["max", "sum"], saturation: int
) -> None:
    encoder = MaskedLMEncoder.from_folder(
        masked_lm_path, pooling=pooling, saturation=saturation, **CPU
    )
    got = encoder.encode_documents(TEXTS, batch_size=3).check()
    expected = [reference(masked_lm_path, text, pooling, saturation) for text in TEXTS]
    np.testing.assert_allclose(dense(got), expected, atol=2e-5)
    assert 0.2 < got.nnz / np.prod(got.shape) < 0.95


@pytest.mark.parametrize("architecture", ["distilbert", "roberta"])
def test_other_architectures(tmp_path: Path, architecture: str) -> None:
    path = tiny_masked_lm(tmp_path / architecture, architecture=architecture)
    encoder = load_encoder(path, **CPU)
    assert isinstance(encoder, MaskedLMEncoder)
    expected = [reference(path, text, "max", 1) for text in TEXTS]
    np.testing.assert_allclose(dense(encoder.encode_documents(TEXTS)), expected, atol=2e-5)


def test_it_is_an_encoder(encoder: MaskedLMEncoder, masked_lm_path: Path) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.name == "tiny-bert"
    assert encoder.options == TextOptions(64, 64)
    assert encoder.encode_queries(TEXTS) == encoder.encode_documents(TEXTS)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS, ""]), max_size=9), st.integers(1, 9))
def test_a_vector_does_not_depend_on_its_batch(
    encoder: MaskedLMEncoder, texts: list[str], batch_size: int
) -> None:
    together = encoder.encode_documents(texts, batch_size=batch_size)
    assert together.shape == (len(texts), len(encoder.vocabulary))
    alone = [dense(encoder.encode_documents([text]))[0] for text in texts]
    if texts:
        np.testing.assert_allclose(dense(together), alone, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_small_blocks_give_the_same_vectors(
    masked_lm_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: Literal["max", "sum"]
) -> None:
    encoder = MaskedLMEncoder.from_folder(masked_lm_path, pooling=pooling, **CPU)
    whole = encoder.encode_documents(TEXTS)
    monkeypatch.setattr(torch_sides, "_CPU_TOKENS", 5)
    monkeypatch.setattr(torch_sides, "_CPU_TERMS", 37)
    pieces = encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(dense(pieces), dense(whole), atol=1e-5)


def test_logits_of_a_batch_never_stand_in_memory(
    encoder: MaskedLMEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_sides, "_CPU_TOKENS", 16)
    largest = 0
    original = torch.mm

    def watched(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, out.untyped_storage().nbytes() // out.element_size())
        return original(left, right, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    encoder.encode_documents([TEXTS[4]] * 8, batch_size=8)
    assert 0 < largest <= 16 * len(encoder.vocabulary)


def test_forward_is_what_sparse_gives_and_has_gradients(masked_lm_path: Path) -> None:
    encoder = MaskedLMEncoder.from_folder(masked_lm_path, **CPU)
    ids = torch.tensor([[2, 80, 81, 3], [2, 82, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    weights = encoder.module(ids, mask)
    found = encoder.module.sparse(ids, mask, dtype=torch.float32)
    rebuilt = torch.zeros_like(weights).index_put((found.rows, found.terms), found.weights)
    torch.testing.assert_close(rebuilt, weights.detach(), atol=1e-5, rtol=0)
    weights.sum().backward()
    assert encoder.module.decoder.bias.grad is not None


def test_wrong_shapes_of_a_side_are_refused(encoder: MaskedLMEncoder) -> None:
    with pytest.raises(ArgumentError, match="'mean' and 1"):
        torch_sides.MaskedLMSide(encoder.module.model, pooling="mean")  # type: ignore[arg-type]
    with pytest.raises(ModelFormatError, match="no linear output projection"):
        torch_sides.MaskedLMSide(encoder.module.model.base_model)


def test_a_lookup_side_is_the_table_of_the_tokens_present() -> None:
    weight = torch.tensor([5.0, 1.0, -2.0, 3.0, 4.0])
    side = torch_sides.LookupSide(weight, special_terms=torch.tensor([0]), trainable=True)
    ids = torch.tensor([[0, 1, 1, 2], [3, 4, 4, 1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    out = side(ids, mask)
    assert out.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 3, 0]]
    out.sum().backward()
    assert side.weight.grad is not None
    assert side.weight.grad.tolist() == [0, 1, 0, 1, 0]
    assert side.vocabulary_size == 5
    frozen = torch_sides.LookupSide(weight, special_terms=torch.tensor([0]), trainable=False)
    assert not frozen.weight.requires_grad


@pytest.mark.parametrize(("kind", "factor"), [("log", 1 + math.log(2)), ("count", 2.0)])
def test_a_lookup_side_counts_repeats_when_asked(
    kind: Literal["log", "count"], factor: float
) -> None:
    weight = torch.tensor([5.0, 1.0, -2.0, 3.0])
    side = torch_sides.LookupSide(
        weight, special_terms=torch.tensor([0]), trainable=True, term_frequency=kind
    )
    out = side(torch.tensor([[0, 1, 1, 3]]), torch.tensor([[1, 1, 1, 1]]))
    assert out[0].tolist() == pytest.approx([0, factor, 0, 3])


def test_empty_texts_give_empty_rows(encoder: MaskedLMEncoder) -> None:
    matrix = encoder.encode_documents(["", "cat", " \n"])
    assert [row.nnz > 0 for row in matrix] == [False, True, False]
    assert encoder.encode_documents(["", ""]).nnz == 0
    assert encoder.encode_queries([]).shape == (0, len(encoder.vocabulary))


def test_lengths_prompts_and_pruning(masked_lm_path: Path) -> None:
    options = TextOptions(5, 8, query_prompt="search ", max_active_dims=7)
    made = MaskedLMEncoder.from_folder(masked_lm_path, options=options, **CPU)
    plain = MaskedLMEncoder.from_folder(masked_lm_path, **CPU)
    words = "cat dog house river stone cloud tree mouse"
    query = made.encode_queries([words]).row(0)
    assert query == plain.encode_queries(["search cat dog"]).row(0).top(7)
    document = made.encode_documents([words]).row(0)
    assert document == plain.encode_documents(["cat dog house river stone cloud"]).row(0).top(7)


def test_bfloat16_is_near_float32(masked_lm_path: Path, encoder: MaskedLMEncoder) -> None:
    half = MaskedLMEncoder.from_folder(masked_lm_path, device="cpu", dtype="bfloat16")
    got, expected = dense(half.encode_documents(TEXTS)), dense(encoder.encode_documents(TEXTS))
    # The random weights are far wider than a trained model's: the worst case, not the usual one.
    assert np.abs(got - expected).mean() < 0.02
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.999
    assert half.fingerprint != encoder.fingerprint


def test_fingerprint_follows_the_weights(tmp_path: Path, encoder: MaskedLMEncoder) -> None:
    other = load_encoder(tiny_masked_lm(tmp_path / "tiny-bert", seed=1), **CPU)
    again = load_encoder(tiny_masked_lm(tmp_path / "again", seed=0), **CPU)
    assert other.fingerprint != encoder.fingerprint
    assert again.fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"dtype": "int3"}, "dtype must be"), ({"device": "abacus"}, "device 'abacus'")],
)
def test_wrong_options_are_refused(
    masked_lm_path: Path, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        load_encoder(masked_lm_path, **arguments)


def test_folders_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    pickled = tiny_masked_lm(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match="no \\*.safetensors"):
        load_encoder(pickled)
    foreign = tiny_masked_lm(tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoModelForMaskedLM": "mine.Model"}}
    (foreign / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        load_encoder(foreign)


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_masked_lm(tmp_path / "headless")
    weights = load_file(path / "model.safetensors")
    kept = {k: v for k, v in weights.items() if "transform" not in k}
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFormatError, match=r"would be random: cls\.predictions\.transform"):
        load_encoder(path)


def test_old_layer_norm_names_are_read(tmp_path: Path, encoder: MaskedLMEncoder) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_masked_lm(tmp_path / "old")
    weights = load_file(path / "model.safetensors")
    for key in [k for k in weights if "LayerNorm" in k]:
        old = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        )
        weights[old] = weights.pop(key) + 0.25
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_encoder(path, **CPU)
    assert isinstance(loaded, MaskedLMEncoder)
    norms = [p for n, p in loaded.module.named_parameters() if n.endswith("LayerNorm.weight")]
    assert len(norms) == 6
    for norm in norms:
        torch.testing.assert_close(norm, torch.full_like(norm, 1.25))
