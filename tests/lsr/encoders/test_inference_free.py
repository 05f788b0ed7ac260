import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ArgumentError, DataError
from lsr.encoders import QueryEncoder, load_encoder
from lsr.encoders.folder import write_encoder_folder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.tokenization import TextTokenizer
from tests.helpers.tiny_model import TEXTS, WORDS, tiny_tokenizer_json

TOKENIZER = TextTokenizer(tiny_tokenizer_json())
SIZE = len(TOKENIZER.vocabulary)


def table(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 1, SIZE).astype(np.float32)


@pytest.fixture
def encoder() -> LookupQueryEncoder:
    return LookupQueryEncoder(TOKENIZER, table(), name="free")


def test_it_is_a_query_encoder(encoder: LookupQueryEncoder) -> None:
    assert isinstance(encoder, QueryEncoder)
    assert encoder.idf == "query"


@given(st.lists(st.sampled_from([*WORDS, "zebra", "[SEP]", ","]), max_size=9))
def test_a_query_is_the_table_at_the_tokens_that_stand_in_it(words: list[str]) -> None:
    weights = table()
    weights[TOKENIZER.special_terms] = 0
    encoder = LookupQueryEncoder(TOKENIZER, weights)
    text = " ".join(words)
    (ids,) = TOKENIZER.encode([text], max_length=99, special_tokens=False)
    expected = np.zeros(SIZE, dtype=np.float32)
    expected[ids] = np.maximum(weights[ids], 0)
    row = encoder.encode_queries([text]).check().row(0)
    dense = np.zeros(SIZE, dtype=np.float32)
    dense[row.terms] = row.weights
    np.testing.assert_array_equal(dense, expected)
    assert sorted({s.term for s in encoder.spans(text)}) == row.terms.tolist()


def test_repeats_count_once_and_case_does_not_matter(encoder: LookupQueryEncoder) -> None:
    assert encoder.encode_queries(["Cat cat CAT"]) == encoder.encode_queries(["cat"])


def test_repeats_count_by_the_chosen_function() -> None:
    for kind, factor in (("presence", 1.0), ("log", 1 + np.log(3)), ("count", 3.0)):
        encoder = LookupQueryEncoder(TOKENIZER, np.abs(table()), term_frequency=kind)
        once = encoder.encode_queries(["cat"]).row(0)
        thrice = encoder.encode_queries(["Cat cat CAT"]).row(0)
        np.testing.assert_array_equal(thrice.terms, once.terms)
        np.testing.assert_allclose(thrice.weights, once.weights * factor, rtol=1e-6)


def test_the_function_of_repeats_is_saved_and_part_of_the_fingerprint(tmp_path: Path) -> None:
    encoder = LookupQueryEncoder(TOKENIZER, table(), term_frequency="log")
    encoder.save_query_side(tmp_path / "log")
    again = load_encoder(tmp_path / "log")
    assert again.encode_queries(["cat cat"]) == encoder.encode_queries(["cat cat"])
    assert again.fingerprint == encoder.fingerprint
    assert encoder.fingerprint != LookupQueryEncoder(TOKENIZER, table()).fingerprint
    assert encoder.resized(SIZE + 3).term_frequency == "log"


def test_many_queries_are_each_alone(encoder: LookupQueryEncoder) -> None:
    whole = encoder.encode_queries([*TEXTS, ""])
    for row, text in zip(whole, [*TEXTS, ""], strict=True):
        assert row == encoder.encode_queries([text]).row(0)
    assert encoder.encode_queries([]).shape == (0, SIZE)


def test_binary_gives_every_token_the_same() -> None:
    encoder = LookupQueryEncoder.binary(TOKENIZER, weight=0.3)
    row = encoder.encode_queries(["the cat [SEP] ∞"]).row(0)
    assert [TOKENIZER.vocabulary.token(t) for t in row.terms] == ["the", "cat"]
    np.testing.assert_array_equal(row.weights, np.float32(0.3))
    assert encoder.idf == "none"


def test_an_idf_mapping_becomes_a_table() -> None:
    encoder = LookupQueryEncoder.from_idf(TOKENIZER, {"cat": 2.5, "[CLS]": 9.0})
    assert encoder.encode_queries(["the cat"]).weights.tolist() == [2.5]
    assert encoder.weights.sum() == 2.5
    with pytest.raises(DataError, match="'zebra'"):
        LookupQueryEncoder.from_idf(TOKENIZER, {"zebra": 1.0})


def test_a_table_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="terms"):
        LookupQueryEncoder(TOKENIZER, np.ones(3, dtype=np.float32))
    broken = table()
    broken[7] = np.nan
    with pytest.raises(ArgumentError, match="NaN"):
        LookupQueryEncoder(TOKENIZER, broken)


def test_saved_and_loaded_it_makes_the_same_bits(tmp_path: Path) -> None:
    encoder = LookupQueryEncoder(TOKENIZER, table(), max_length=5, prompt="query cat ")
    encoder.save_query_side(tmp_path / "q")
    loaded = load_encoder(tmp_path / "q")
    assert isinstance(loaded, LookupQueryEncoder)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.vocabulary == encoder.vocabulary
    assert loaded.encode_queries(TEXTS) == encoder.encode_queries(TEXTS)


def test_small_tables_are_widened(tmp_path: Path) -> None:
    weights = np.round(np.maximum(table(), 0) * 20)
    write_encoder_folder(
        tmp_path / "q",
        kind="lookup",
        name="small",
        config={"idf": "query", "max_length": 64, "prompt": ""},
        arrays={
            "weights": weights.astype(np.int8),
            "weights.scale": np.array([0.05], dtype=np.float16),
        },
        tokenizer_json=tiny_tokenizer_json(),
    )
    loaded = load_encoder(tmp_path / "q")
    assert isinstance(loaded, LookupQueryEncoder)
    np.testing.assert_allclose(loaded.weights, weights * np.float32(np.float16(0.05)), rtol=1e-6)


def test_it_needs_no_torch(tmp_path: Path, encoder: LookupQueryEncoder) -> None:
    encoder.save_query_side(tmp_path / "q")
    code = (
        "import sys; from lsr.encoders import load_encoder; "
        f"e = load_encoder({str(tmp_path / 'q')!r}); e.encode_queries(['the cat', 'b']); "
        "bad = {'torch', 'transformers', 'onnxruntime'} & set(sys.modules);"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
