"""Nearest passages of many queries, by a teacher's vectors or by our own exact index.

Both searches have one shape: ``search(query rows) → (passages, scores)``, best first, -1 padded,
and ``score(query rows, passage rows)`` for pairs, which the false-negative filter needs.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lsr.core.sparse import SparseMatrix
from lsr.training.config import BM25Teacher
from lsr.training.pair_table import PairTable, TokenTable
from lsr.training.teachers import DenseTable, SparseTable

__all__ = ["BM25Search", "CandidateSearch", "DenseSearch", "SparseSearch", "bm25_matrix"]


class CandidateSearch(Protocol):
    """Finds a query's nearest passages."""

    batch: int
    """Queries a search."""

    def search(
        self, rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return passages and scores, shape (n, k), best first, -1 and 0 where there are fewer."""

    def score(self, rows: NDArray[np.int64], passages: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of given passages, shape (n, p); -1 scores infinity."""


class DenseSearch:
    """Cosines with every passage, in blocks of at most 1 GiB."""

    def __init__(self, table: DenseTable, device: torch.device) -> None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._table, self._device = table, device
        self._passages = torch.tensor(table.passages, dtype=dtype, device=device)
        per_query = len(self._passages) * self._passages.element_size()
        self.batch = max(1, (1 << 30) // per_query)

    def _queries(self, rows: NDArray[np.int64]) -> torch.Tensor:
        return self._table.side("queries", rows, self._device).to(self._passages.dtype)

    def search(
        self, rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the `k` passages of the largest cosine."""
        scores = self._queries(rows) @ self._passages.T
        best, where = scores.topk(min(k, len(self._passages)), dim=1)
        return where.cpu().numpy(), best.float().cpu().numpy()

    def score(self, rows: NDArray[np.int64], passages: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of given passages."""
        given = torch.from_numpy(passages).to(self._device)
        vectors = self._passages[given.clamp(min=0)]
        cosines = torch.einsum("nd,npd->np", self._queries(rows), vectors).float()
        return cosines.masked_fill(given < 0, float("inf")).cpu().numpy()


class _IndexSearch:
    """Search by our own exact index over sparse vectors."""

    batch = 4096

    def __init__(self, queries: SparseMatrix, passages: SparseMatrix) -> None:
        from indexing.exact import ExactIndex

        self._queries = queries
        self._passages = passages.to_scipy()
        self._index = ExactIndex.from_matrix(passages)

    def search(
        self, rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the `k` passages of the largest inner product."""
        found = self._index.search_batch(self._queries.take(rows), k)
        return found.rows.astype(np.int64), found.scores

    def score(self, rows: NDArray[np.int64], passages: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the inner products of given passages."""
        queries = self._queries.take(rows).to_scipy()
        out = np.full(passages.shape, np.inf, dtype=np.float32)
        for column in range(passages.shape[1]):
            there = passages[:, column] >= 0
            given = self._passages[passages[there, column]]
            out[there, column] = np.asarray(queries[there].multiply(given).sum(axis=1)).reshape(-1)
        return out


class BM25Search(_IndexSearch):
    """BM25 over the backbone's tokens, the teacher's own k1 and b."""

    def __init__(self, config: BM25Teacher, pairs: PairTable) -> None:
        idf = pairs.idf()
        queries = _counts(pairs.queries, pairs)
        queries.weights[:] *= idf[queries.terms]
        super().__init__(
            SparseMatrix.from_scipy(queries.to_scipy()),
            bm25_matrix(pairs, k1=config.k1, b=config.b),
        )


class SparseSearch(_IndexSearch):
    """Inner products of a sparse teacher's vectors."""

    def __init__(self, table: SparseTable) -> None:
        super().__init__(_from_table(table, "queries"), _from_table(table, "passages"))


def _from_table(table: SparseTable, side: str) -> SparseMatrix:
    from scipy.sparse import csr_array

    terms = np.asarray(getattr(table, f"{side}_terms"))
    weights = np.asarray(getattr(table, f"{side}_weights"), dtype=np.float32)
    n, width = terms.shape
    # Unused places point at term 0 with weight 0; `from_scipy` drops zeros.
    made = csr_array(
        (weights.reshape(-1), terms.reshape(-1).astype(np.int32), np.arange(n + 1) * width),
        shape=(n, table.size),
    )
    return SparseMatrix.from_scipy(made)


def _counts(table: TokenTable, pairs: PairTable) -> SparseMatrix:
    """Return how often each term stands in each text; special tokens are left out."""
    size = pairs.vocabulary_size
    rows = np.repeat(np.arange(len(table), dtype=np.int64), table.lengths())
    ids = np.asarray(table.ids, dtype=np.int64)
    inside = ~np.isin(ids, list(pairs.special.values()))
    keys, counts = np.unique(rows[inside] * size + ids[inside], return_counts=True)
    indptr = np.searchsorted(keys, np.arange(len(table) + 1) * size).astype(np.int64)
    return SparseMatrix(
        indptr, (keys % size).astype(np.int32), counts.astype(np.float32), (len(table), size)
    )


def bm25_matrix(pairs: PairTable, *, k1: float, b: float) -> SparseMatrix:
    """Return BM25's document weights of all passages (`bm25_weights` has the formula)."""
    tf = _counts(pairs.passages, pairs)
    lengths = np.add.reduceat(np.append(tf.weights, 0), tf.indptr[:-1])
    lengths[np.diff(tf.indptr) == 0] = 0
    mean = float(pairs.passages.lengths().mean())
    norm = np.repeat(k1 * (1 - b + b * lengths / mean), np.diff(tf.indptr))
    weights = tf.weights * (k1 + 1) / (tf.weights + norm)
    return SparseMatrix(tf.indptr, tf.terms, weights.astype(np.float32), tf.shape)
