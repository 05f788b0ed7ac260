"""English text to terms the way Lucene's ``EnglishAnalyzer`` does it, with character offsets.

Words are found by a regular expression that follows the word rules of UAX #29 where they matter
for search: letters and digits join, an apostrophe or full stop joins letters, a full stop or
comma joins digits, ideographs stand alone, combining marks belong to the letter before them.
Then: lower case, no possessive ``'s``, no stop words, Porter stems (PyStemmer).
"""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from typing import NamedTuple

from lsr.core.errors import ConfigError, near_names

__all__ = ["ENGLISH_STOP_WORDS", "Analyzer", "Token"]

ENGLISH_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)
"""Lucene's 33 words."""

MAX_TOKEN_LENGTH = 255
"""Longer runs are encoded data, not words; Lucene cuts them at the same length, here they go."""

_IDEOGRAPHS = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_APOSTROPHES = "'\u2019\uff07"


class Token(NamedTuple):
    """A word of a text: ``text[start:end]``, and what it became."""

    start: int
    end: int
    stem: str


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    # Python's \w leaves out combining marks, which would cut words of Indic scripts and
    # decomposed accents to pieces. The table of the basic plane takes 10 ms, once.
    marks = [c for c in range(0x300, 0x10000) if unicodedata.category(chr(c))[0] == "M"]
    ranges: list[list[int]] = []
    for code in marks:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    extend = "".join(f"{chr(a)}-{chr(b)}" for a, b in ranges)
    # Possessive quantifiers: nothing here ever needs to be given back.
    word = rf"(?:[^\W{_IDEOGRAPHS}]++[{extend}]*+)++"
    letter, digit = rf"[^\W\d_{extend}]", r"\d"
    joint = (
        rf"(?:(?<={letter})[{_APOSTROPHES}.\u00b7](?={letter})|"
        rf"(?<={digit})[{_APOSTROPHES}.,;](?={digit}))"
    )
    return re.compile(rf"{word}(?:{joint}{word})*+|[{_IDEOGRAPHS}][{extend}]*+")


class Analyzer:
    """A configured chain from text to terms; safe to share between threads.

    Parameters
    ----------
    stemmer : str or None
        A PyStemmer algorithm: ``"porter"`` (Lucene's), ``"english"`` (Porter 2), ``"german"`` …;
        None leaves words as they are.
    stop_words : frozenset of str
        Lower-case words that are dropped before stemming.

    Raises
    ------
    ConfigError
        If PyStemmer has no such algorithm.
    """

    def __init__(
        self,
        *,
        stemmer: str | None = "porter",
        stop_words: frozenset[str] = ENGLISH_STOP_WORDS,
    ) -> None:
        if stemmer is not None:
            import Stemmer

            known = Stemmer.algorithms(True)
            if stemmer not in known:
                raise ConfigError(
                    f"stemmer {stemmer!r} is unknown.{near_names(stemmer, known)}",
                    hint=f"Known: {', '.join(sorted(known))}.",
                )
        self.stemmer = stemmer
        self.stop_words = stop_words
        self._local = threading.local()

    def _stems(self, words: list[str]) -> list[str]:
        if self.stemmer is None:
            return words
        # A PyStemmer object must not be used by two threads at once.
        if not hasattr(self._local, "stems"):
            import Stemmer

            self._local.stems = Stemmer.Stemmer(self.stemmer).stemWords
        # Porter's own program and Lucene leave words of one or two letters as they are; Snowball's
        # makes nothing of "s" and "u" of "us".
        stems = self._local.stems(words)
        return [s if len(w) > 2 else w for w, s in zip(words, stems, strict=True)]

    def tokens(self, text: str) -> list[Token]:
        """Return the words of `text` in reading order, stop words left out."""
        spans, words = [], []
        for match in _word_pattern().finditer(text):
            word = self._word(match.group())
            if word:
                # What was cut off is at the end; lower-casing may have changed the length.
                cut = 2 if _is_possessive(match.group()) else 0
                spans.append((match.start(), match.end() - cut))
                words.append(word)
        stems = self._stems(words)
        return [Token(*span, stem) for span, stem in zip(spans, stems, strict=True)]

    def terms(self, text: str) -> list[str]:
        """Return the stems of `text` in reading order."""
        return self._stems([w for w in map(self._word, _word_pattern().findall(text)) if w])

    def _word(self, raw: str) -> str:
        """Return what is stemmed of a match, or an empty string."""
        word = (raw[:-2] if _is_possessive(raw) else raw).lower()
        if word in self.stop_words or len(raw) > MAX_TOKEN_LENGTH or not word.strip("_"):
            return ""
        return word


def _is_possessive(word: str) -> bool:
    return len(word) > 2 and word[-1] in "sS" and word[-2] in _APOSTROPHES
