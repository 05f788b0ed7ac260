"""Words on a terminal: pieces and stems of one word share a bar."""

from __future__ import annotations

from lsr.core.vocabulary import Vocabulary
from serving.display import words_of


def test_pieces_and_stems_of_a_word_are_one() -> None:
    vocabulary = Vocabulary(["ka", "##fk", "##a", "price", "price*", "rare·1*", "in"])
    text = "Price in Kafka"
    shown = {
        3: [(0, 5)], 4: [(0, 5)], 6: [(6, 8)],
        0: [(9, 11)], 1: [(11, 13)], 2: [(13, 14)], 5: [(9, 14)],
    }  # fmt: skip
    words = words_of(shown, text, vocabulary)
    assert words == {
        3: "price",
        4: "price",
        6: "in",
        0: "kafka",
        1: "kafka",
        2: "kafka",
        5: "kafka",
    }


def test_neighbours_without_a_gap_stay_apart() -> None:
    vocabulary = Vocabulary(["glut", "-", "4"])
    words = words_of({0: [(0, 4)], 1: [(4, 5)], 2: [(5, 6)]}, "glut-4", vocabulary)
    assert words == {0: "glut", 1: "-", 2: "4"}


def test_a_term_of_two_words_is_of_the_first() -> None:
    words = words_of({0: [(0, 3), (4, 7)]}, "cat cat", Vocabulary(["cat"]))
    assert words == {0: "cat"}
    assert words_of({}, "nothing", Vocabulary(["cat"])) == {}
    assert words_of({0: []}, "edited", Vocabulary(["cat"])) == {}
