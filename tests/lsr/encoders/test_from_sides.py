from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lsr.core.errors import EncoderError
from lsr.encoders.batched import TextOptions
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.from_sides import encoder_from_sides
from lsr.encoders.hf_models import load_model, load_tokenizer
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.torch_sides import LookupSide, MaskedLMSide
from tests.helpers.tiny_model import TEXTS

OPTIONS = TextOptions(16, 32)
ON = {"name": "made", "options": OPTIONS, "device": "cpu", "dtype": "float32"}


@pytest.fixture
def document(masked_lm_path: Path) -> MaskedLMSide:
    return MaskedLMSide(load_model(masked_lm_path, "masked-lm"))


def test_one_module_is_a_siamese_encoder(document: MaskedLMSide, masked_lm_path: Path) -> None:
    tokenizer = load_tokenizer(masked_lm_path, size=document.vocabulary_size)
    made = encoder_from_sides(document, document, tokenizer, **ON)
    loaded = MaskedLMEncoder.from_folder(
        masked_lm_path, options=OPTIONS, device="cpu", dtype="float32"
    )
    assert made.encode_documents(TEXTS) == loaded.encode_documents(TEXTS)


def test_a_lookup_module_becomes_a_table(document: MaskedLMSide, masked_lm_path: Path) -> None:
    tokenizer = load_tokenizer(masked_lm_path, size=document.vocabulary_size)
    special = torch.from_numpy(tokenizer.special_terms).long()
    weight = torch.rand(document.vocabulary_size) - 0.2
    query = LookupSide(weight, special_terms=special, trainable=True)
    made = encoder_from_sides(query, document, tokenizer, **ON)
    assert isinstance(made, ComposedEncoder)
    assert isinstance(made.query, LookupQueryEncoder)
    for text in TEXTS:
        (ids,) = tokenizer.encode([text], max_length=16, special_tokens=False)
        if len(ids):
            batch = torch.from_numpy(ids).long()[None]
            expected = query(batch, torch.ones_like(batch)).detach().numpy()[0]
            got = made.encode_queries([text]).to_scipy().toarray()[0]
            np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_two_models(document: MaskedLMSide, masked_lm_path: Path) -> None:
    tokenizer = load_tokenizer(masked_lm_path, size=document.vocabulary_size)
    query = MaskedLMSide(load_model(masked_lm_path, "masked-lm"), saturation=2)
    made = encoder_from_sides(query, document, tokenizer, **ON)
    assert made.encode_queries(TEXTS).weights.max() < made.encode_documents(TEXTS).weights.max()


def test_other_modules_are_refused(document: MaskedLMSide, masked_lm_path: Path) -> None:
    tokenizer = load_tokenizer(masked_lm_path, size=document.vocabulary_size)
    with pytest.raises(EncoderError, match="ReLU does not encode queries"):
        encoder_from_sides(nn.ReLU(), document, tokenizer, **ON)
    with pytest.raises(EncoderError, match="ReLU does not encode documents"):
        encoder_from_sides(document, nn.ReLU(), tokenizer, **ON)
