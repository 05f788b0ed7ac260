import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ModelFormatError
from lsr.encoders.tokenization import TextTokenizer
from tests.helpers.tiny_model import SPECIAL, TEXTS, tiny_tokenizer_json

TOKENIZER = TextTokenizer(tiny_tokenizer_json())


def tokens(ids: np.ndarray) -> list[str]:
    return [TOKENIZER.vocabulary.token(i) for i in ids.tolist()]


def test_ids_with_and_without_special_tokens() -> None:
    (bare,) = TOKENIZER.encode(["The cat sat"], max_length=9, special_tokens=False)
    assert tokens(bare) == ["the", "cat", "sat"]
    (whole,) = TOKENIZER.encode(["The cat sat"], max_length=9, special_tokens=True)
    assert tokens(whole) == ["[CLS]", "the", "cat", "sat", "[SEP]"]


def test_truncation_keeps_the_closing_token() -> None:
    one = TOKENIZER.encode(["the cat sat on the mat"], max_length=4, special_tokens=True)
    many = TOKENIZER.encode(["the cat sat on the mat"] * 2, max_length=4, special_tokens=True)
    assert tokens(one[0]) == ["[CLS]", "the", "cat", "[SEP]"]
    assert [m.tolist() for m in many] == [one[0].tolist()] * 2
    (bare,) = TOKENIZER.encode(["the cat sat"], max_length=2, special_tokens=False)
    assert tokens(bare) == ["the", "cat"]


def test_special_terms_and_padding() -> None:
    assert TOKENIZER.special_terms.tolist() == list(range(len(SPECIAL)))
    assert TOKENIZER.pad_id == 0


def test_a_larger_model_vocabulary_is_filled_up() -> None:
    size = len(TOKENIZER.vocabulary) + 3
    larger = TextTokenizer(tiny_tokenizer_json(), size=size)
    assert len(larger.vocabulary) == size
    assert larger.vocabulary.tokens[: size - 3] == TOKENIZER.vocabulary.tokens
    with pytest.raises(ModelFormatError, match="two models"):
        TextTokenizer(tiny_tokenizer_json(), size=5)


def test_a_broken_definition_is_named() -> None:
    with pytest.raises(ModelFormatError, match="cannot be read"):
        TextTokenizer("{}")


@given(st.one_of(st.sampled_from(TEXTS), st.text(st.characters(), max_size=40)))
def test_spans_are_the_tokens_of_the_text(text: str) -> None:
    (ids,) = TOKENIZER.encode([text], max_length=10_000, special_tokens=False)
    spans = TOKENIZER.spans(text)
    special = set(TOKENIZER.special_terms.tolist())
    assert [s.term for s in spans] == [i for i in ids.tolist() if i not in special]
    end = 0
    for span in spans:
        assert end <= span.start < span.end <= len(text)
        end = span.end


@pytest.mark.parametrize("text", ["cat \ud800 dog", "\udfff", "a\0b", "🐈 cat"])
def test_broken_characters_are_no_failure(text: str) -> None:
    (ids,) = TOKENIZER.encode([text], max_length=20, special_tokens=False)
    special = set(TOKENIZER.special_terms.tolist())
    assert [s.term for s in TOKENIZER.spans(text)] == [i for i in ids.tolist() if i not in special]
    for span in TOKENIZER.spans(text):
        assert text[span.start : span.end].strip()
