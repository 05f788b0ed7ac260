import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ArtifactCorruptedError, ArtifactExistsError, ConfigError, DataError
from lsr.encoders import Encoder, LexicalConfig, LexicalEncoder, load_encoder

CORPUS = [
    "A cat sat on the mat.",
    "Dogs chase cats, and cats chase mice.",
    "The mat is made of wool; wool is warm.",
    "",
]


@pytest.fixture
def encoder() -> LexicalEncoder:
    return LexicalEncoder.fit(CORPUS)


def test_it_is_an_encoder(encoder: LexicalEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.idf) == ("lexical", "query")


def test_inner_product_is_bm25(encoder: LexicalEncoder) -> None:
    analyse = encoder._analyzer.terms
    documents = [analyse(text) for text in CORPUS]
    mean = sum(map(len, documents)) / len(documents)
    query = analyse("warm cats chase the cat")
    expected = []
    for words in documents:
        tf, score = Counter(words), 0.0
        for term in query:
            df = sum(term in d for d in documents)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            norm = 0.9 * (1 - 0.4 + 0.4 * len(words) / mean)
            score += idf * tf[term] / (tf[term] + norm) if df else 0.0
        expected.append(score)
    q = encoder.encode_queries(["warm cats chase the cat"]).row(0)
    got = [q.dot(d) for d in encoder.encode_documents(CORPUS)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_vectors_are_canonical_and_empty_texts_give_empty_rows(encoder: LexicalEncoder) -> None:
    matrix = encoder.encode_documents([*CORPUS, "zebra", "the of"]).check()
    assert np.diff(matrix.indptr).tolist()[3:] == [0, 0, 0]
    assert encoder.encode_queries([]).shape == (0, len(encoder.vocabulary))


def test_vocabulary_does_not_depend_on_the_order_of_the_corpus(encoder: LexicalEncoder) -> None:
    other = LexicalEncoder.fit(reversed(CORPUS))
    assert other.fingerprint == encoder.fingerprint
    assert LexicalEncoder.fit(CORPUS[:2]).fingerprint != encoder.fingerprint


def test_min_df_leaves_rare_terms_out() -> None:
    encoder = LexicalEncoder.fit(CORPUS, config=LexicalConfig(min_df=2))
    assert list(encoder.vocabulary.tokens) == ["cat", "mat"]


def test_a_corpus_without_words_is_an_error() -> None:
    with pytest.raises(DataError, match="no word"):
        LexicalEncoder.fit(["", "the"])


def test_config_is_checked() -> None:
    with pytest.raises(ConfigError, match="portr"):
        LexicalEncoder.fit(CORPUS, config=LexicalConfig(stemmer="portr"))


def test_spans_name_words_of_the_query(encoder: LexicalEncoder) -> None:
    text = "Zebras and the Cat's wool"
    spans = encoder.spans(text)
    found = [(text[s.start : s.end], encoder.vocabulary.token(s.term)) for s in spans]
    assert found == [("Cat", "cat"), ("wool", "wool")]


@given(st.lists(st.sampled_from(["cat", "Dogs", "the", "wool", "qqq", "mats.", "—"]), max_size=12))
def test_spans_are_the_terms_of_the_query(words: list[str]) -> None:
    encoder = LexicalEncoder.fit(CORPUS)
    text = " ".join(words)
    counted = Counter(span.term for span in encoder.spans(text))
    row = encoder.encode_queries([text]).row(0)
    assert sorted(counted) == row.terms.tolist()
    idf = encoder._idf[row.terms]
    np.testing.assert_array_equal(row.weights, idf * [counted[t] for t in row.terms.tolist()])


@pytest.mark.parametrize("method", ["save", "save_query_side"])
def test_saved_and_loaded_it_makes_the_same_bits(
    encoder: LexicalEncoder, tmp_path: Path, method: str
) -> None:
    getattr(encoder, method)(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert isinstance(loaded, LexicalEncoder)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.vocabulary == encoder.vocabulary
    assert loaded.encode_documents(CORPUS) == encoder.encode_documents(CORPUS)
    assert loaded.encode_queries(CORPUS) == encoder.encode_queries(CORPUS)


def test_saving_over_something_is_refused(encoder: LexicalEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "encoder")
    with pytest.raises(ArtifactExistsError):
        encoder.save(tmp_path / "encoder")


def test_a_damaged_folder_is_named(encoder: LexicalEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "encoder")
    tables = tmp_path / "encoder" / "tables.safetensors"
    tables.write_bytes(tables.read_bytes()[:-8])
    with pytest.raises(ArtifactCorruptedError, match="truncated"):
        load_encoder(tmp_path / "encoder")
