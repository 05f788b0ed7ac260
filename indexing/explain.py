"""Why a document scored as it did: one line a term, summing to the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from indexing.base import SparseIndex, check_query, check_row
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary

__all__ = ["Explanation", "TermContribution", "explain", "explain_vectors"]


@dataclass(frozen=True, slots=True)
class TermContribution:
    """What one term gives to a score: ``query_weight * document_weight``."""

    term: int
    token: str
    query_weight: float
    document_weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of one document for one query, taken apart.

    Attributes
    ----------
    row : int
    score : float
        Sum of the contributions, in float64; the index's float32 score up to rounding.
    terms : tuple of TermContribution
        The terms that query and document share, the largest contribution first.
    missing : tuple of TermContribution
        The query's other terms, the heaviest first; their document weight is 0.
    """

    row: int
    score: float
    terms: tuple[TermContribution, ...]
    missing: tuple[TermContribution, ...]


def explain(
    index: SparseIndex, query: SparseVector, row: int, vocabulary: Vocabulary
) -> Explanation:
    """Return the contributions of the query's terms to the score of a row.

    Raises
    ------
    ArgumentError
        If there is no such row.
    VocabularyMismatchError
        If the query has another vocabulary size than the index.
    """
    check_query(query, index.vocabulary_size)
    check_row(row, index.n_documents)
    return explain_vectors(query, index.document(row), row, vocabulary)


def explain_vectors(
    query: SparseVector, document: SparseVector, row: int, vocabulary: Vocabulary
) -> Explanation:
    """Return the contributions of the query's terms to its score with a document's vector."""
    _, of_query, of_document = np.intersect1d(
        query.terms, document.terms, assume_unique=True, return_indices=True
    )
    document_weights = np.zeros(query.nnz, dtype=np.float32)
    document_weights[of_query] = document.weights[of_document]
    lines = [
        TermContribution(term, vocabulary.token(term), query_weight, weight, query_weight * weight)
        for term, query_weight, weight in zip(
            query.terms.tolist(), query.weights.tolist(), document_weights.tolist(), strict=True
        )
    ]
    shared = sorted((x for x in lines if x.document_weight > 0), key=lambda x: -x.contribution)
    missing = sorted((x for x in lines if x.document_weight == 0), key=lambda x: -x.query_weight)
    score = sum(x.contribution for x in shared)
    return Explanation(row, float(score), tuple(shared), tuple(missing))
