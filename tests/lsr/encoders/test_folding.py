from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import EncoderError
from lsr.core.sparse import SparseMatrix
from lsr.encoders import Encoder, LexicalEncoder, load_encoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.folding import FoldedEncoder, fold, fold_encoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.tokenization import TextTokenizer
from tests.helpers.strategies import random_matrix, sparse_matrices
from tests.helpers.tiny_model import TEXTS, WORDS, tiny_tokenizer_json

TOKENIZER = TextTokenizer(tiny_tokenizer_json())
SIZE = len(TOKENIZER.vocabulary)


class RandomDocuments:
    """A document side without a model: the vector of a text depends on its number alone."""

    name, fingerprint, vocabulary = "random", "0", TOKENIZER.vocabulary
    vectors = random_matrix(np.random.default_rng(0), 40, SIZE, 30)

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        return self.vectors.take([int(text) for text in texts])

    def save(self, path: Path) -> None:
        raise NotImplementedError


def pair() -> ComposedEncoder:
    weights = np.maximum(np.random.default_rng(1).normal(2, 2, SIZE), 0).astype(np.float32)
    weights[TOKENIZER.special_terms] = 0
    return ComposedEncoder(LookupQueryEncoder(TOKENIZER, weights), RandomDocuments())


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_scores_and_ranking_stay(words: list[str]) -> None:
    plain, folded = pair(), FoldedEncoder(pair())
    numbers = [str(n) for n in range(40)]
    query = " ".join(words)
    scores = [
        (e.encode_queries([query]).to_scipy() @ e.encode_documents(numbers).to_scipy().T).toarray()
        for e in (plain, folded)
    ]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-5)
    assert set(folded.encode_queries([query]).weights.tolist()) <= {1.0}


@given(sparse_matrices(12), st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=12, max_size=12))
def test_folding_is_a_product_of_columns(matrix: SparseMatrix, weights: list[float]) -> None:
    table = np.array(weights, dtype=np.float32)
    folded = fold(matrix, table).check()
    expected = matrix.to_scipy().toarray() * table
    np.testing.assert_array_equal(folded.to_scipy().toarray(), expected)


def test_conventions_are_told() -> None:
    folded = FoldedEncoder(pair())
    assert isinstance(folded, Encoder)
    assert (pair().idf, folded.idf, folded.query.idf) == ("query", "document", "none")
    assert folded.fingerprint != pair().fingerprint


def test_saved_and_loaded(masked_lm_path: Path, tmp_path: Path) -> None:
    document = MaskedLMEncoder.from_folder(masked_lm_path, device="cpu", dtype="float32")
    weights = np.linspace(0, 3, SIZE, dtype=np.float32)
    folded = fold_encoder(
        ComposedEncoder(LookupQueryEncoder(document.tokenizer, weights), document)
    )
    folded.save(tmp_path / "folded")
    again = load_encoder(tmp_path / "folded", device="cpu", dtype="float32")
    assert isinstance(again, FoldedEncoder)
    assert again.encode_documents(TEXTS) == folded.encode_documents(TEXTS)
    assert again.encode_queries(TEXTS) == folded.encode_queries(TEXTS)


def test_an_encoder_without_a_table_cannot_be_folded(masked_lm_path: Path) -> None:
    with pytest.raises(EncoderError, match="no query table"):
        fold_encoder(LexicalEncoder.fit(["a cat"]))
    side = MaskedLMEncoder.from_folder(masked_lm_path, device="cpu", dtype="float32")
    with pytest.raises(EncoderError, match="is no table"):
        fold_encoder(ComposedEncoder(side, side))
