"""Expansion terms for encoders that weigh only what stands in the text.

UniCOIL, DeepImpact and TILDEv2 give every token of a text one weight; what the text lacks has to
be written behind it first. The terms come from the heaviest terms of a document encoder with a
masked-LM head (TILDE's use of one), or from a file that another model wrote (docTTTTTquery).

References
----------
Zhuang, Zuccon: Fast Passage Re-ranking with Contextualized Exact Term Matching and Efficient
Passage Expansion, 2021 (TILDEv2). Lin, Ma: A Few Brief Notes on DeepImpact, COIL, and a
Conceptual Framework, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsr.core.errors import ArgumentError
from lsr.encoders.base import Encoder

__all__ = ["append_terms", "expansion_terms"]


def expansion_terms(
    encoder: Encoder, texts: Sequence[str], n_terms: int, *, batch_size: int = 32
) -> list[list[str]]:
    """Return the heaviest terms of each text's vector that do not stand in the text.

    Pieces of words (``##ing``) and what is no word are left out: appended alone, they would be
    read as something else.

    Parameters
    ----------
    encoder : Encoder
        One whose document side expands.
    texts : sequence of str
        The texts.
    n_terms : int
        At most so many a text, heaviest first.

    Raises
    ------
    ArgumentError
        If `n_terms` is less than 1.
    """
    if n_terms < 1:
        raise ArgumentError(f"n_terms must be 1 or more, got {n_terms}.")
    matrix = encoder.encode_documents(texts, batch_size=batch_size)
    found = []
    for text, row in zip(texts, matrix, strict=True):
        lowered = text.lower()
        there = {span.term for span in encoder.spans(text)}
        terms: list[str] = []
        for at in np.argsort(-row.weights, kind="stable").tolist():
            term = int(row.terms[at])
            token = encoder.vocabulary.token(term)
            if term not in there and len(token) > 1 and token.isalnum() and token not in lowered:
                terms.append(token)
                if len(terms) == n_terms:
                    break
        found.append(terms)
    return found


def append_terms(text: str, terms: Sequence[str]) -> str:
    """Return the text with the terms behind it, separated by spaces."""
    return f"{text} {' '.join(terms)}" if terms else text
