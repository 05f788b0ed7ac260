"""The fused encoder beside its two parts, computed apart with numpy."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ArgumentError, EncoderError
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.encoders import (
    EncodeConfig,
    Encoder,
    LexicalConfig,
    LexicalEncoder,
    QueryEncoder,
    encode_collection,
    load_encoder,
)
from lsr.encoders.base import TracingEncoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.folding import FoldedEncoder, fold_encoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical_channel import LexicalChannelEncoder, LexicalChannelQuery
from lsr.encoders.limits import text_limits
from lsr.encoders.loading import shorten
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.tokenization import TextTokenizer
from lsr.encoders.tracing import tracing
from tests.helpers.tiny_model import TEXTS, WORDS, tiny_tokenizer_json

TOKENIZER = TextTokenizer(tiny_tokenizer_json())
SIZE = len(TOKENIZER.vocabulary)
QUERIES = ["warm cats and the warm dog", "zebras", "", "stone", "to chase a zebra in the house"]


class PieceCounts:
    """A document side without a model: it counts word pieces."""

    name, fingerprint, vocabulary = "counts", "0", TOKENIZER.vocabulary

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        rows = []
        for ids in TOKENIZER.encode(list(texts), max_length=512, special_tokens=False):
            terms, counts = np.unique(ids, return_counts=True)
            rows.append(SparseVector.from_arrays(terms, counts, SIZE))
        return SparseMatrix.from_rows(rows, SIZE)

    def save(self, path: Path) -> None:
        raise NotImplementedError


def pieces() -> ComposedEncoder:
    weights = np.random.default_rng(1).gamma(2, 1, SIZE).astype(np.float32)
    weights[TOKENIZER.special_terms] = 0
    query = LookupQueryEncoder(TOKENIZER, weights, term_frequency="count")
    return ComposedEncoder(query, PieceCounts())


def words(max_terms: int | None = 12, buckets: int = 6) -> LexicalEncoder:
    return LexicalEncoder.fit(TEXTS, config=LexicalConfig(max_terms=max_terms, buckets=buckets))


def fused(**options: float) -> LexicalChannelEncoder:
    return LexicalChannelEncoder(pieces(), words(), **{"weight": 0.5, **options})  # type: ignore[arg-type]


@pytest.fixture
def model(masked_lm_path: Path) -> ComposedEncoder:
    document = MaskedLMEncoder.from_folder(masked_lm_path, device="cpu", dtype="float32")
    table = np.linspace(0, 3, SIZE, dtype=np.float32)
    return ComposedEncoder(LookupQueryEncoder(document.tokenizer, table, max_length=64), document)


def scores(encoder: Encoder, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    q = encoder.encode_queries(queries).check().to_scipy()
    found: np.ndarray = (q @ encoder.encode_documents(documents).check().to_scipy().T).toarray()
    return found


texts = st.lists(st.sampled_from([*WORDS, "zebra", "Yaks", "—"]), max_size=9).map(" ".join)


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4), st.sampled_from([0.25, 1.0, 3.5]))
def test_the_score_is_a_sum(queries: list[str], documents: list[str], weight: float) -> None:
    learned = scores(pieces(), queries, documents)
    lexical = scores(words(), queries, documents)
    got = scores(fused(weight=weight), queries, documents)
    np.testing.assert_allclose(got, learned + weight * lexical, rtol=1e-5, atol=1e-6)


def test_it_is_an_encoder_over_both_vocabularies() -> None:
    encoder = fused()
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, TracingEncoder)
    assert not isinstance(LexicalChannelQuery(pieces().query, words(), weight=1), Encoder)
    tokens = encoder.vocabulary.tokens
    assert tokens[:SIZE] == TOKENIZER.vocabulary.tokens
    assert tokens[SIZE:] == tuple(f"{token}*" for token in words().vocabulary.tokens)
    assert (encoder.name, encoder.idf) == ("lookup+counts+lexical", "query")


def test_spans_are_those_of_both_parts_in_reading_order() -> None:
    text = "the mats of warm zebras"
    spans = fused().spans(text)
    assert spans == sorted(spans, key=lambda span: span[:2])
    learned = [span for span in spans if span.term < SIZE]
    lexical = [span._replace(term=span.term - SIZE) for span in spans if span.term >= SIZE]
    assert learned == pieces().spans(text)
    assert lexical == words().spans(text)
    assert len(lexical) == 3


@given(st.lists(texts, min_size=1, max_size=4), st.integers(1, 12))
def test_max_terms_keeps_the_largest_impacts(documents: list[str], n: int) -> None:
    whole, encoder = fused(), fused(max_terms=n)
    weights = whole.weights
    assert weights is not None
    for plain, kept in zip(
        whole.encode_documents(documents), encoder.encode_documents(documents).check(), strict=True
    ):
        impacts = [
            (-float(np.float32(weight) * weights[term]), term)
            for term, weight in zip(plain.terms.tolist(), plain.weights.tolist(), strict=True)
        ]
        expected = sorted(term for _, term in sorted(impacts)[:n])
        assert kept.terms.tolist() == expected
        at = np.searchsorted(plain.terms, kept.terms)
        assert kept.weights.tolist() == plain.weights[at].tolist()


def test_query_weights_are_those_of_a_query() -> None:
    encoder = fused(weight=0.7)
    assert encoder.weights is not None
    row = encoder.encode_queries(["the warm zebra sat"]).row(0)
    assert row.weights.tolist() == encoder.weights[row.terms].tolist()


@pytest.mark.parametrize("max_terms", [None, 10])
def test_origins_are_the_learned_ones_and_the_first_words(
    model: ComposedEncoder, max_terms: int | None
) -> None:
    documents = [*TEXTS, ""]
    # A random model's weights are large: with less the lexical terms are all pruned.
    encoder = LexicalChannelEncoder(model, words(), weight=20, max_terms=max_terms)
    matrix, origins = encoder.encode_with_origins(documents, batch_size=3)
    assert matrix == encoder.encode_documents(documents, batch_size=3)
    assert len(origins) == matrix.nnz
    learned, of_learned = model.encode_with_origins(documents, batch_size=3)
    n_lexical = 0
    for row, text in enumerate(documents):
        terms = learned.row(row).terms.tolist()
        for at in range(matrix.indptr[row], matrix.indptr[row + 1]):
            term, place = int(matrix.terms[at]), (int(origins.starts[at]), int(origins.ends[at]))
            if term < SIZE:
                there = learned.indptr[row] + terms.index(term)
                assert place == (of_learned.starts[there], of_learned.ends[there])
            else:
                spans = words().spans(text)
                assert place == next((s.start, s.end) for s in spans if s.term + SIZE == term)
                n_lexical += 1
    assert n_lexical > 5
    empty, nothing = encoder.encode_with_origins([])
    assert (empty.shape, len(nothing)) == ((0, SIZE + 18), 0)


def test_saved_and_loaded_it_makes_the_same_bits(model: ComposedEncoder, tmp_path: Path) -> None:
    encoder = LexicalChannelEncoder(model, words(), weight=0.5, max_terms=9, name="both")
    encoder.save(tmp_path / "both")
    again = load_encoder(tmp_path / "both", device="cpu", dtype="float32", query_max_length=32)
    assert isinstance(again, LexicalChannelEncoder)
    assert (again.name, again.weight, again.max_terms) == ("both", 0.5, 9)
    assert again.encode_documents(TEXTS) == encoder.encode_documents(TEXTS)
    assert again.encode_queries(QUERIES) == encoder.encode_queries(QUERIES)
    assert text_limits(again) == (32, 64)
    plain = load_encoder(tmp_path / "both", device="cpu", dtype="float32")
    assert plain.fingerprint == encoder.fingerprint


def test_the_query_side_loads_alone_and_without_torch(
    model: ComposedEncoder, tmp_path: Path
) -> None:
    encoder = LexicalChannelEncoder(model, words(), weight=0.5, max_terms=9)
    encoder.save_query_side(tmp_path / "query")
    again = load_encoder(tmp_path / "query")
    assert isinstance(again, QueryEncoder)
    assert not isinstance(again, Encoder)
    assert again.vocabulary == encoder.vocabulary
    assert again.encode_queries(QUERIES) == encoder.encode_queries(QUERIES)
    code = (
        "import sys; from lsr.encoders import load_encoder; "
        f"load_encoder({str(tmp_path / 'query')!r}).encode_queries(['cat']); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_siamese_model_may_have_a_channel(model: ComposedEncoder, tmp_path: Path) -> None:
    document = model.document
    assert isinstance(document, MaskedLMEncoder)
    encoder = LexicalChannelEncoder(document, words(), weight=2.0)
    assert encoder.weights is None
    encoder.save_query_side(tmp_path / "query")
    again = load_encoder(tmp_path / "query", device="cpu", dtype="float32")
    assert again.encode_queries(QUERIES) == encoder.encode_queries(QUERIES)
    with pytest.raises(ArgumentError, match="differ from query to query"):
        LexicalChannelEncoder(document, words(), weight=2.0, max_terms=5)
    with pytest.raises(EncoderError, match="no table"):
        fold_encoder(encoder)
    with pytest.raises(EncoderError, match="no table"):
        encoder.unweighted()


def test_every_option_counts_in_the_fingerprint() -> None:
    other = LexicalEncoder.fit(TEXTS[:3])
    made = [fused(), fused(weight=0.6), fused(max_terms=5), fused(max_terms=6)]
    made.append(LexicalChannelEncoder(pieces(), other, weight=0.5))
    shorter = pieces()
    shorten(shorter, 8, None)
    made.append(LexicalChannelEncoder(shorter, words(), weight=0.5))
    assert len({encoder.fingerprint for encoder in made}) == len(made)
    assert fused().fingerprint == fused().fingerprint


@pytest.mark.parametrize("max_terms", [None, 7])
def test_folded_scores_stay(model: ComposedEncoder, tmp_path: Path, max_terms: int | None) -> None:
    encoder = LexicalChannelEncoder(model, words(), weight=0.5, max_terms=max_terms)
    folded = fold_encoder(encoder)
    assert (folded.idf, folded.query.idf) == ("document", "none")
    assert folded.encode_queries(["zebra mat mats"]).row(0).weights[-2:].tolist() == [2.0, 1.0]
    np.testing.assert_allclose(
        scores(folded, QUERIES, TEXTS), scores(encoder, QUERIES, TEXTS), rtol=1e-5, atol=1e-6
    )
    folded.save(tmp_path / "folded")
    again = load_encoder(tmp_path / "folded", device="cpu", dtype="float32")
    assert isinstance(again, FoldedEncoder)
    assert again.fingerprint == folded.fingerprint
    assert again.encode_documents(TEXTS) == folded.encode_documents(TEXTS)
    assert again.encode_queries(QUERIES) == folded.encode_queries(QUERIES)
    folded.save_query_side(tmp_path / "query")
    side = load_encoder(tmp_path / "query")
    assert side.idf == "none"
    assert side.encode_queries(QUERIES) == folded.encode_queries(QUERIES)


def test_lengths_are_the_learned_parts() -> None:
    encoder = fused()
    shorten(encoder, 3, None)
    assert text_limits(encoder).query_tokens == 3
    row = encoder.encode_queries(["cat dog house mouse mat"]).row(0)
    assert (row.terms < SIZE).sum() == 3
    assert (row.terms >= SIZE).sum() >= 4
    folded = fold_encoder(encoder)
    shorten(folded, 2, None)
    assert text_limits(folded).query_tokens == 2


def test_a_collection_is_encoded_with_positions(model: ComposedEncoder, tmp_path: Path) -> None:
    encoder = LexicalChannelEncoder(model, words(), weight=0.5)
    documents = [Document(str(at), text) for at, text in enumerate(TEXTS)]
    made = encode_collection(
        encoder, documents, tmp_path / "vectors", config=EncodeConfig(positions=True)
    )
    assert made.has_origins
    assert made.vocabulary_size == len(encoder.vocabulary)
    assert made.manifest.details["document_tokens"] == 64
    with pytest.raises(EncoderError, match="keeps no positions"):
        tracing(fused())


@pytest.mark.parametrize("weight", [0, -1.0, math.nan, math.inf])
def test_a_weight_is_a_number_above_0(weight: float) -> None:
    with pytest.raises(ArgumentError, match="weight must be"):
        fused(weight=weight)


def test_what_cannot_have_a_channel_is_refused() -> None:
    with pytest.raises(EncoderError, match="has a lexical channel already"):
        LexicalChannelEncoder(fused(), words(), weight=1)
    with pytest.raises(EncoderError, match="carry the idf"):
        LexicalChannelEncoder(fold_encoder(pieces()), words(), weight=1)
    with pytest.raises(ArgumentError, match="max_terms must be at least 1"):
        fused(max_terms=0)
    starred = LexicalEncoder.fit(["cat"])
    starred.vocabulary.tokens = ("cat*",)
    with pytest.raises(EncoderError, match=r"cannot have a lexical channel.*'cat\*'"):
        LexicalChannelQuery(starred, LexicalEncoder.fit(["cat"]), weight=1)
