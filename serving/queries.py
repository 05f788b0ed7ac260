"""From what a user sends, a text or weights by token, to the vector that is searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lsr.core.errors import QueryError, near_names
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import QueryEncoder
from serving.highlight import ShownTerms, places_by_term

__all__ = ["QueryEdits", "QueryInput", "QueryReader"]

QueryInput: TypeAlias = str | Mapping[str, float]
"""A text, or weights by token."""


@dataclass(frozen=True, slots=True)
class QueryEdits:
    """Changes to an encoded query, made in this order: boost, drop, add.

    Attributes
    ----------
    boost : mapping of str to float
        Factors; 0 drops. A term that the query lacks stays absent.
    drop : sequence of str
        Terms to leave out.
    add : mapping of str to float
        Weights that stand in place of the encoder's.
    """

    boost: Mapping[str, float] = field(default_factory=dict)
    drop: Sequence[str] = ()
    add: Mapping[str, float] = field(default_factory=dict)


class QueryReader:
    """Makes the query vectors of one index.

    Parameters
    ----------
    encoder : QueryEncoder, optional
        Encodes text; without one only weights by token are read.
    vocabulary : Vocabulary
        Of the index.
    index : str
        How messages call the index.
    """

    def __init__(self, encoder: QueryEncoder | None, vocabulary: Vocabulary, *, index: str) -> None:
        self.encoder = encoder
        self.vocabulary = vocabulary
        self._index = index

    def require_encoder(self) -> QueryEncoder:
        """Return the encoder.

        Raises
        ------
        QueryError
            If the index came without one.
        """
        if self.encoder is None:
            raise QueryError(
                f"The index {self._index!r} came without a query encoder.",
                hint="Send the query as weights by token, encoded with the index's encoder.",
            )
        return self.encoder

    def check_text(self, text: str) -> None:
        """Check that `text` can be encoded here.

        Raises
        ------
        QueryError
            If it is blank, or the index came without an encoder.
        """
        if not text.strip():
            raise QueryError("The query is empty.", hint="Give it at least one word.")
        self.require_encoder()

    def encode(self, texts: Sequence[str]) -> SparseMatrix:
        """Return one row a text; raises as `check_text` does."""
        for text in texts:
            self.check_text(text)
        return self.require_encoder().encode_queries(texts)

    def vector(self, query: QueryInput, edits: QueryEdits | None = None) -> SparseVector:
        """Return the vector of a query, with the edits made.

        Raises
        ------
        QueryError
            If the query is empty, or names a token that the vocabulary lacks.
        """
        if isinstance(query, str):
            vector = self.encode([query]).row(0)
        elif not query:
            raise QueryError("The query has no terms.", hint="Give at least one token a weight.")
        else:
            weights = {self.term(token): weight for token, weight in query.items()}
            vector = SparseVector.from_mapping(weights, len(self.vocabulary))
        return vector if edits is None else self.edited(vector, edits)

    def edited(self, vector: SparseVector, edits: QueryEdits) -> SparseVector:
        """Return `vector` with the edits made.

        Raises
        ------
        QueryError
            If an edit names a token that the vocabulary lacks.
        """
        weights = dict(zip(vector.terms.tolist(), vector.weights.tolist(), strict=True))
        for token, factor in edits.boost.items():
            term = self.term(token)
            if term in weights:
                weights[term] *= factor
        for token in edits.drop:
            weights.pop(self.term(token), None)
        for token, weight in edits.add.items():
            weights[self.term(token)] = weight
        return SparseVector.from_mapping(weights, vector.size)

    def matrix(self, queries: Sequence[QueryInput]) -> SparseMatrix:
        """Return one row a query, the texts among them encoded together."""
        texts = [query for query in queries if isinstance(query, str)]
        encoded = iter(self.encode(texts)) if texts else iter(())
        rows = [next(encoded) if isinstance(q, str) else self.vector(q) for q in queries]
        return SparseMatrix.from_rows(rows, len(self.vocabulary))

    def shown_terms(self, query: QueryInput, edits: QueryEdits | None = None) -> ShownTerms:
        """Return the terms that a query itself names, and where its text shows them.

        Its others were added by the encoder.
        """
        if isinstance(query, str):
            shown = places_by_term(self.require_encoder().spans(query))
        else:
            shown = {self.term(token): [] for token in query}
        if edits is not None:
            for token in edits.add:
                shown.setdefault(self.term(token), [])
        return shown

    def term(self, token: str) -> int:
        """Return the term of a token.

        Raises
        ------
        QueryError
            If the vocabulary lacks it.
        """
        term = self.vocabulary.term(token)
        if term is None:
            # Only what begins alike is compared: a vocabulary may have millions of tokens.
            near = [t for t in self.vocabulary.tokens if t[:2] == token[:2]][:2000]
            raise QueryError(
                f"The vocabulary of {self._index!r} has no token {token!r}."
                f"{near_names(token, near)}",
                hint="The encode view shows which tokens a text becomes.",
            )
        return term
