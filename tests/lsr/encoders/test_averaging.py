from pathlib import Path

import numpy as np
import pytest

from lsr.core.errors import ArgumentError, EncoderError
from lsr.encoders import load_encoder
from lsr.encoders.averaging import average_encoders
from lsr.encoders.batched import TextOptions
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder
from tests.helpers.tiny_model import TEXTS, tiny_masked_lm

CPU = {"device": "cpu", "dtype": "float32"}


def encoder(path: Path, seed: int, *, scale: float = 1.0, **shape: int) -> ComposedEncoder:
    folder = tiny_masked_lm(path / f"model-{seed}", seed=seed, **shape)
    document = MaskedLMEncoder.from_folder(folder, options=TextOptions(64, 16), **CPU)
    weights = np.random.default_rng(seed).gamma(2, 1, len(document.vocabulary)).astype(np.float32)
    query = LookupQueryEncoder(document.tokenizer, weights * scale, term_frequency="count")
    return ComposedEncoder(query, document, name=f"e{seed}")


def test_the_mean_of_an_encoder_with_itself_is_itself(tmp_path: Path) -> None:
    one = encoder(tmp_path, 1)
    before = one.encode_documents(TEXTS).to_scipy().toarray()
    other = encoder(tmp_path / "again", 1, scale=7.0)
    made = average_encoders([other, one], name="mean")
    assert made.name == "mean"
    np.testing.assert_allclose(made.encode_documents(TEXTS).to_scipy().toarray(), before, atol=1e-6)
    np.testing.assert_allclose(made.query.weights, one.query.weights, rtol=1e-5)  # type: ignore[attr-defined]


def test_weights_are_means_and_are_saved(tmp_path: Path) -> None:
    first, second = encoder(tmp_path, 1), encoder(tmp_path, 2)
    assert isinstance(first.document, MaskedLMEncoder)
    assert isinstance(second.document, MaskedLMEncoder)
    states = [
        {k: v.clone() for k, v in e.document.module.state_dict().items()}  # type: ignore[attr-defined]
        for e in (first, second)
    ]
    made = average_encoders([first, second])
    assert isinstance(made.document, MaskedLMEncoder)
    for key, tensor in made.document.module.state_dict().items():
        if tensor.is_floating_point():
            expected = (states[0][key] + states[1][key]) / 2
            np.testing.assert_allclose(tensor.numpy(), expected.numpy(), atol=1e-6)
    made.save(tmp_path / "made")
    again = load_encoder(tmp_path / "made", **CPU)
    assert again.encode_queries(["cat cat dog"]) == made.encode_queries(["cat cat dog"])


def test_what_has_no_mean_is_refused(tmp_path: Path) -> None:
    one = encoder(tmp_path, 1)
    with pytest.raises(ArgumentError, match="two encoders or more"):
        average_encoders([one])
    with pytest.raises(EncoderError, match="no query table with a masked-LM"):
        average_encoders([one, one.query])
    deep = encoder(tmp_path, 3, num_hidden_layers=1)
    with pytest.raises(EncoderError, match="differ in shape"):
        average_encoders([deep, one])
