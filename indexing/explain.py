"""Why a document scored as it did, and why it was not found.

`explain` takes a score apart: one line a term, summing to the score. `why_not` says what kept a
document out of a result: its score, or a shortcut of the layout, and which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from indexing.base import SparseIndex, check_query, check_row
from lsr.core.sparse import Float32Array, SparseVector
from lsr.core.vocabulary import Vocabulary

__all__ = [
    "Absence",
    "Explanation",
    "Reason",
    "TermContribution",
    "explain",
    "explain_vectors",
    "filtered_out",
    "judge",
    "why_not",
]

Reason = Literal[
    "found",
    "filtered_out",
    "no_shared_term",
    "below_kth_score",
    "terms_cut",
    "postings_pruned",
    "block_not_visited",
    "not_scored_again",
]
"""Why a document is not in a result; the last four are shortcuts of an approximate search."""


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


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a document is, or is not, in the result of a search.

    Attributes
    ----------
    row, k : int
    reason : str
        One of `Reason`.
    rank : int or None
        From 1, where it was found.
    score : float
        The document's score.
    kth_score : float
        The last score of the result, 0 where it is shorter than `k`.
    message : str
        The same in a sentence, with the figures.
    """

    row: int
    k: int
    reason: Reason
    rank: int | None
    score: float
    kth_score: float
    message: str


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


def why_not(
    index: SparseIndex, query: SparseVector, row: int, k: int = 10, *, params: Any | None = None
) -> Absence:
    """Return why a row is not in the best `k` of a search, or at which rank it is.

    Raises
    ------
    ArgumentError, VocabularyMismatchError
        As `SparseIndex.search` does, or if there is no such row.
    """
    check_row(row, index.n_documents)
    found = index.search(query, k, params=params)
    at = np.flatnonzero(found.rows == row)
    return judge(
        row,
        query.dot(index.document(row)),
        k,
        rank=int(at[0]) + 1 if len(at) else None,
        scores=found.scores,
        shortcut=lambda: index.shortcut(query, row, k, params=params),
    )


def judge(
    row: int,
    score: float,
    k: int,
    *,
    rank: int | None,
    scores: Float32Array,
    shortcut: Callable[[], tuple[Any, str]],
) -> Absence:
    """Return what a result says about one document.

    Parameters
    ----------
    row : int
        Names the document.
    score : float
        The document's own.
    k : int
        The depth that was asked for.
    rank : int or None
        Where the result has it.
    scores : float32, shape (m,)
        Of the result.
    shortcut : callable
        `SparseIndex.shortcut` of this search; called where no other reason is left.
    """
    kth_score = float(scores[-1]) if len(scores) == k else 0.0

    def absence(reason: Reason, message: str) -> Absence:
        return Absence(row, k, reason, rank, score, kth_score, message)

    if rank is not None:
        return absence("found", f"It is found, at rank {rank} with score {score:.6g}.")
    if score == 0:
        return absence("no_shared_term", "It shares no term with the query: its score is 0.")
    # A shortcut is to blame only if the score would have made the result; sums differ by rounding.
    if len(scores) == k and score < kth_score * (1 + 1e-6):
        how = "does not reach" if score < kth_score * (1 - 1e-6) else "only ties with"
        return absence(
            "below_kth_score", f"Its score {score:.6g} {how} that of result {k}, {kth_score:.6g}."
        )
    reason, detail = shortcut()
    return absence(reason, f"Its score {score:.6g} reaches {kth_score:.6g}, but {detail}")


def filtered_out(row: int, score: float, k: int, scores: Float32Array) -> Absence:
    """Return what is to be said of a document that a search's filter leaves out; see `judge`."""
    kth_score = float(scores[-1]) if len(scores) == k else 0.0
    message = f"The filter leaves it out; its score would be {score:.6g}."
    return Absence(row, k, "filtered_out", None, score, kth_score, message)
