"""An encoder that adds terms, as learned ones do, without a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsr.core.origins import Origins
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import IdfConvention, Span
from lsr.encoders.lexical import LexicalEncoder

__all__ = ["ExpandingEncoder"]


class ExpandingEncoder:
    """A lexical encoder that gives related terms half of a term's weight.

    Parameters
    ----------
    inner : LexicalEncoder
        Weighs what a text shows.
    related : dict of str to str
        Which token comes along with which.
    seconds : float
        How long a batch of queries takes, whatever its size.
    """

    name = "expanding"
    idf: IdfConvention = "query"

    def __init__(
        self, inner: LexicalEncoder, related: dict[str, str], *, seconds: float = 0.0
    ) -> None:
        self.inner = inner
        self.seconds = seconds
        self.related = related
        self.batches: list[int] = []

    @property
    def fingerprint(self) -> str:
        return f"expanding-{self.inner.fingerprint}"

    @property
    def vocabulary(self) -> Vocabulary:
        return self.inner.vocabulary

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        self.batches.append(len(texts))
        if any("poison" in text for text in texts):
            raise ArithmeticError("a text that the encoder cannot take")
        time.sleep(self.seconds)
        return self._expanded(self.inner.encode_queries(texts, batch_size=batch_size))

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        return self._expanded(self.inner.encode_documents(texts, batch_size=batch_size))

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return the vectors; a term comes from its own first word, an added one from its cause."""
        matrix = self.encode_documents(texts, batch_size=batch_size)
        term_of = self.vocabulary.term
        pieces: list[tuple[int, int]] = []
        for row, text in enumerate(texts):
            first = {span.term: (span.start, span.end) for span in reversed(self.spans(text))}
            causes = {term_of(added): term_of(cause) for cause, added in self.related.items()}
            for term in matrix.row(row).terms.tolist():
                # The cause goes before: a text may show an added term as well.
                cause = causes.get(term)
                pieces.append(first[cause if cause in first else term])
        starts, ends = np.array(pieces, dtype=np.int32).reshape(-1, 2).T
        return matrix, Origins(starts, ends)

    def _expanded(self, matrix: SparseMatrix) -> SparseMatrix:
        rows = []
        for vector in matrix:
            weights = dict(zip(vector.terms.tolist(), vector.weights.tolist(), strict=True))
            for term, weight in list(weights.items()):
                token = self.related.get(self.vocabulary.token(term))
                extra = None if token is None else self.vocabulary.term(token)
                if extra is not None:
                    weights[extra] = max(weights.get(extra, 0.0), weight / 2)
            rows.append(SparseVector.from_mapping(weights, matrix.size))
        return SparseMatrix.from_rows(rows, matrix.size)

    def spans(self, text: str) -> list[Span]:
        return self.inner.spans(text)

    def save_query_side(self, path: Path) -> None:
        self.inner.save_query_side(path)

    def save(self, path: Path) -> None:
        self.inner.save(path)
