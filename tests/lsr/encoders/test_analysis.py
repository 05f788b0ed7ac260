import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ConfigError
from lsr.encoders.analysis import ENGLISH_STOP_WORDS, Analyzer


def words(text: str) -> list[str]:
    return [t.stem for t in Analyzer(stemmer=None, stop_words=frozenset()).tokens(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's COVID-19 data", ["the", "cat", "covid", "19", "data"]),
        ("U.S.A. costs 3.14, or 1,000", ["u.s.a", "costs", "3.14", "or", "1,000"]),
        ("don’t can't", ["don’t", "can't"]),
        ("a_b x__ __", ["a_b", "x__"]),
        ("p53 IL-2 α-synuclein", ["p53", "il", "2", "α", "synuclein"]),
        ("Übergröße cafe\u0301", ["übergröße", "cafe\u0301"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("東京都 タワー", ["東", "京", "都", "タワー"]),
        ("end. Begin", ["end", "begin"]),
        ("x" * 256 + " y", ["y"]),
        ("", []),
        (" \n\t…—", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_english_chain_drops_stop_words_and_possessives_and_stems() -> None:
    assert Analyzer().terms("The runner's ponies are relational") == ["runner", "poni", "relat"]
    assert len(ENGLISH_STOP_WORDS) == 33


def test_offsets_name_the_word_without_its_possessive() -> None:
    text = "İstanbul’s bridges"
    assert [text[t.start : t.end] for t in Analyzer().tokens(text)] == ["İstanbul", "bridges"]


@given(st.text())
def test_tokens_never_overlap_and_ascend(text: str) -> None:
    end = 0
    for token in Analyzer().tokens(text):
        assert end <= token.start < token.end <= len(text)
        end = token.end


@given(st.text())
def test_terms_are_the_stems_of_the_tokens(text: str) -> None:
    assert Analyzer().terms(text) == [t.stem for t in Analyzer().tokens(text)]


def test_unknown_stemmer_names_near_ones() -> None:
    with pytest.raises(ConfigError, match="'porter'"):
        Analyzer(stemmer="portr")


def test_one_analyzer_serves_many_threads() -> None:
    analyzer = Analyzer()
    text = "relational databases organise thousands of generalizations " * 50
    expected = analyzer.terms(text)
    results: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(analyzer.terms(text))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


def test_words_of_one_or_two_letters_stay_as_they_are() -> None:
    assert Analyzer().terms("S. aureus and us") == ["s", "aureu", "us"]
