import math
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    ArtifactExistsError,
    ConfigError,
    DataError,
)
from lsr.encoders import Encoder, LexicalConfig, LexicalEncoder, load_encoder
from lsr.encoders.folder import write_encoder_folder

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


def test_max_terms_keeps_the_most_frequent_terms() -> None:
    # cat and mat stand in two documents each, the others in one: ties go by the alphabet.
    for n, expected in [(1, ["cat"]), (3, ["cat", "chase", "mat"])]:
        encoder = LexicalEncoder.fit(CORPUS, config=LexicalConfig(max_terms=n))
        assert list(encoder.vocabulary.tokens) == expected
    every = LexicalEncoder.fit(CORPUS, config=LexicalConfig(max_terms=999))
    assert every.vocabulary == LexicalEncoder.fit(CORPUS).vocabulary


def bucketed(buckets: int = 5, **changes: int) -> LexicalEncoder:
    return LexicalEncoder.fit(CORPUS, config=LexicalConfig(max_terms=2, buckets=buckets, **changes))


def test_words_outside_the_vocabulary_fall_into_buckets() -> None:
    encoder = bucketed()
    buckets = [f"rare·{bucket}" for bucket in range(5)]
    assert list(encoder.vocabulary.tokens) == ["cat", "mat", *buckets]
    words = ["wool", "warm", "zebra", "cat"]
    expected = [2 + zlib.crc32(word.encode()) % 5 for word in words[:3]] + [0]
    text = "wool warm zebra cat"
    assert [span.term for span in encoder.spans(text)] == expected
    for encode in (encoder.encode_queries, encoder.encode_documents):
        assert encode([text]).check().row(0).terms.tolist() == sorted(set(expected))


def test_a_bucket_counts_all_words_that_fall_into_it() -> None:
    encoder = bucketed(buckets=1)
    length, mean = 4, encoder.mean_length
    row = encoder.encode_documents(["zebra yak wool cat"]).row(0)
    norm = 0.9 * (1 - 0.4 + 0.4 * length / mean)
    np.testing.assert_allclose(row.weights, [1 / (1 + norm), 3 / (3 + norm)], rtol=1e-6)
    query = encoder.encode_queries(["zebra yak"]).row(0)
    assert query.weights.tolist() == [2 * encoder.weights[2]]


def test_a_usual_length_may_be_given() -> None:
    fitted = LexicalEncoder.fit(CORPUS)
    given = LexicalEncoder.fit(CORPUS, config=LexicalConfig(mean_length=100))
    assert (fitted.mean_length, given.mean_length) == (14 / 4, 100)
    assert fitted.fingerprint != given.fingerprint
    # Beside a hundred words every text of the corpus is short: its words weigh more.
    assert (given.encode_documents(CORPUS).weights > fitted.encode_documents(CORPUS).weights).all()
    assert given.encode_queries(CORPUS) == fitted.encode_queries(CORPUS)


def test_every_word_has_its_bucket_for_good() -> None:
    encoder = LexicalEncoder.fit(["known"], config=LexicalConfig(buckets=8000))
    (span,) = encoder.spans("lsr")
    assert encoder.vocabulary.token(span.term) == "rare·7347"


def test_a_bucket_weighs_what_its_share_of_the_documents_says() -> None:
    texts = ["common" if at % 2 else f"common word{at} seldom{at % 400}" for at in range(4000)]
    many = LexicalEncoder.fit(texts, config=LexicalConfig(max_terms=50, buckets=300))
    assert many.weights[50:].tolist() == [many.weights[-1]] * 300
    np.testing.assert_allclose(many.weights[-1], math.log(300 / 3), rtol=1e-2)
    # More buckets than that would outweigh the rarest term that was kept, and do not.
    more = LexicalEncoder.fit(texts, config=LexicalConfig(max_terms=50, buckets=100_000))
    assert more.weights[-1] == more.weights[:50].max()
    # Fewer buckets than rare words of a document are in all documents: little weight, but some.
    assert 0 < bucketed(buckets=1).weights[-1] < 0.2


def test_every_option_counts_in_the_fingerprint() -> None:
    made = [bucketed(), bucketed(buckets=6), bucketed(min_df=2)]
    made += [LexicalEncoder.fit(CORPUS), LexicalEncoder.fit(CORPUS, config=LexicalConfig(k1=1.2))]
    made.append(LexicalEncoder.fit(CORPUS, config=LexicalConfig(max_terms=999)))
    assert len({encoder.fingerprint for encoder in made}) == len(made)


def test_a_fingerprint_without_the_later_options_stays(encoder: LexicalEncoder) -> None:
    assert encoder.fingerprint.startswith("d367a306b84381e3")


def test_a_folder_from_before_the_later_options_loads(
    encoder: LexicalEncoder, tmp_path: Path
) -> None:
    config = encoder.config.model_dump(mode="json", exclude={"max_terms", "buckets", "mean_length"})
    write_encoder_folder(
        tmp_path / "encoder",
        kind="lexical",
        name="lexical",
        config={"lexical": config, "mean_length": encoder.mean_length},
        vocabulary=encoder.vocabulary,
        arrays={"idf": encoder.weights},
    )
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.fingerprint == encoder.fingerprint


def test_tables_that_do_not_fit_are_refused(encoder: LexicalEncoder) -> None:
    with pytest.raises(ArgumentError, match="idf table has shape"):
        LexicalEncoder(encoder.vocabulary, encoder.weights[1:], 3.0)
    with pytest.raises(ArgumentError, match="99 of them buckets"):
        config = LexicalConfig(buckets=99)
        LexicalEncoder(encoder.vocabulary, encoder.weights, 3.0, config=config)
    for wrong in ({"buckets": -1}, {"max_terms": 0}):
        with pytest.raises(ValueError, match="greater than or equal"):
            LexicalConfig.model_validate(wrong)


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
    idf = encoder.weights[row.terms]
    np.testing.assert_array_equal(row.weights, idf * [counted[t] for t in row.terms.tolist()])


@pytest.mark.parametrize("method", ["save", "save_query_side"])
@pytest.mark.parametrize("buckets", [0, 5])
def test_saved_and_loaded_it_makes_the_same_bits(
    encoder: LexicalEncoder, tmp_path: Path, method: str, buckets: int
) -> None:
    encoder = bucketed(buckets) if buckets else encoder
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
