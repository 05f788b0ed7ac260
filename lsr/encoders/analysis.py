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
from collections.abc import Iterator
from typing import Any, NamedTuple

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
    word = rf"[^\W{_IDEOGRAPHS}][{extend}]*"
    letter, digit = rf"[^\W\d_{extend}]", r"\d"
    joint = (
        rf"(?:(?<={letter})[{_APOSTROPHES}.\u00b7](?={letter})|"
        rf"(?<={digit})[{_APOSTROPHES}.,;](?={digit}))"
    )
    return re.compile(rf"[{_IDEOGRAPHS}][{extend}]*|(?:{word})+(?:{joint}(?:{word})+)*")


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

    def _stem(self) -> Any:
        # A PyStemmer object must not be used by two threads at once.
        if not hasattr(self._local, "stem"):
            import Stemmer

            self._local.stem = Stemmer.Stemmer(self.stemmer).stemWord
        return self._local.stem

    def tokens(self, text: str) -> Iterator[Token]:
        """Yield the words of `text` in reading order, stop words left out."""
        stem = self._stem() if self.stemmer is not None else None
        for match in _word_pattern().finditer(text):
            start, end = match.span()
            if end - start > MAX_TOKEN_LENGTH:
                continue
            word = match.group().lower()
            if len(word) > 2 and word[-1] == "s" and word[-2] in _APOSTROPHES:
                word = word[:-2]
                end -= 2
            if word in self.stop_words or not word.strip("_"):
                continue
            # Porter's own program and Lucene leave words of one or two letters as they are;
            # Snowball's makes nothing of "s" and "u" of "us".
            stemmed = stem(word) if stem is not None and len(word) > 2 else word
            yield Token(start, end, stemmed)

    def terms(self, text: str) -> list[str]:
        """Return the stems of `text` in reading order."""
        return [token.stem for token in self.tokens(text)]
