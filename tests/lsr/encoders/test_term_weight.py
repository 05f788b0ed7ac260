from pathlib import Path

import numpy as np
import pytest
import torch

from lsr.core.errors import VocabularyMismatchError
from lsr.encoders import Encoder, load_encoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.term_weight import TermWeightEncoder
from lsr.encoders.tokenization import TextTokenizer
from tests.helpers.tiny_model import TEXTS, tiny_tokenizer_json

CPU = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(params=[(None, 0), (8, 1)], ids=["unicoil", "deepimpact"])
def encoder(request: pytest.FixtureRequest, masked_lm_path: Path) -> TermWeightEncoder:
    torch.manual_seed(0)
    width, saturation = request.param
    made = TermWeightEncoder.from_backbone(
        masked_lm_path, head_width=width, saturation=saturation, **CPU
    )
    with torch.no_grad():  # a fresh head may give no weight at all
        for parameter in made.module.head.parameters():
            parameter.uniform_(-0.3, 0.5)
    return made


def test_weights_are_the_maximum_over_repeats(encoder: TermWeightEncoder) -> None:
    got = encoder.encode_documents(TEXTS, batch_size=3).check()
    for text, row in zip(TEXTS, got, strict=True):
        (ids,) = encoder.tokenizer.encode([text], max_length=64, special_tokens=True)
        with torch.no_grad():
            hidden = encoder.module.model(torch.from_numpy(ids).long()[None]).last_hidden_state
            weights = torch.relu(encoder.module.head(hidden)).reshape(-1)
        for _ in range(encoder.module.saturation):
            weights = torch.log1p(weights)
        expected = np.zeros(len(encoder.vocabulary), dtype=np.float32)
        for term, weight in zip(ids.tolist(), weights.tolist(), strict=True):
            if term not in encoder.tokenizer.special_terms:
                expected[term] = max(expected[term], weight)
        dense = np.zeros_like(expected)
        dense[row.terms] = row.weights
        np.testing.assert_allclose(dense, expected, atol=1e-5)
    assert got.nnz >= 10


def test_forward_is_what_sparse_gives_and_has_gradients(encoder: TermWeightEncoder) -> None:
    ids = torch.tensor([[2, 80, 80, 3], [2, 82, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    weights = encoder.module(ids, mask)
    found = encoder.module.sparse(ids, mask, dtype=torch.float32)
    rebuilt = torch.zeros_like(weights).index_put((found.rows, found.terms), found.weights)
    torch.testing.assert_close(rebuilt, weights.detach(), atol=1e-5, rtol=0)
    weights.sum().backward()
    assert all(p.grad is not None for p in encoder.module.head.parameters())


def test_saved_and_loaded(encoder: TermWeightEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(again, TermWeightEncoder)
    assert again.fingerprint == encoder.fingerprint
    assert again.encode_documents(TEXTS) == encoder.encode_documents(TEXTS)


def test_deep_impact_is_composed_with_a_binary_query(
    encoder: TermWeightEncoder, tmp_path: Path
) -> None:
    pair = ComposedEncoder(LookupQueryEncoder.binary(encoder.tokenizer), encoder)
    assert pair.name == "binary+tiny-bert"
    pair.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(again, Encoder)
    assert again.fingerprint == pair.fingerprint
    assert again.encode_queries(TEXTS) == pair.encode_queries(TEXTS)
    assert again.encode_documents(TEXTS) == encoder.encode_documents(TEXTS)


def test_term_weights_on_queries_with_a_masked_lm_on_documents(
    encoder: TermWeightEncoder, masked_lm_path: Path, tmp_path: Path
) -> None:
    pair = ComposedEncoder(encoder, MaskedLMEncoder.from_folder(masked_lm_path, **CPU))
    pair.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model", **CPU)
    assert again.encode_queries(TEXTS) == encoder.encode_queries(TEXTS)


def test_sides_of_two_vocabularies_are_refused(encoder: TermWeightEncoder) -> None:
    other = TextTokenizer(tiny_tokenizer_json(), size=len(encoder.vocabulary) + 1)
    with pytest.raises(VocabularyMismatchError, match="query side 'binary'"):
        ComposedEncoder(LookupQueryEncoder.binary(other), encoder)
