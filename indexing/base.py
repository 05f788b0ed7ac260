"""What every index is to the rest of the system, and the shape of its results.

The ranking rule holds everywhere: score descending, then row ascending; score 0 is no result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from lsr.core.config import Config
from lsr.core.errors import ArgumentError, VocabularyMismatchError
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector, UInt64Array

__all__ = [
    "MAX_K",
    "BatchResult",
    "SearchResult",
    "SparseIndex",
    "check_k",
    "check_query",
    "check_row",
]

MAX_K = 10_000
"""The deepest result list; deeper ones belong to an export, not to a search."""


class SearchResult(NamedTuple):
    """The best rows of one query.

    Attributes
    ----------
    rows : int32, shape (m,)
        ``m <= k``, best first.
    scores : float32, shape (m,)
        Inner products, all greater than 0.
    """

    rows: Int32Array
    scores: Float32Array


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The best rows of many queries, in the order of the queries.

    Attributes
    ----------
    rows : int32, shape (n_queries, k)
        Padded with -1.
    scores : float32, shape (n_queries, k)
        Padded with 0.
    """

    rows: Int32Array
    scores: Float32Array

    def __getitem__(self, query: int) -> SearchResult:
        count = int((self.rows[query] >= 0).sum())
        return SearchResult(self.rows[query, :count], self.scores[query, :count])

    def __len__(self) -> int:
        return len(self.rows)


class SparseIndex(Protocol):
    """A set of document vectors that can be searched; immutable once built."""

    kind: ClassVar[str]
    """The layout, as the configuration calls it."""

    params_model: ClassVar[type[Config] | None]
    """Class of the layout's search parameters; None where there is nothing to choose."""

    @property
    def n_documents(self) -> int:
        """Number of rows."""

    @property
    def vocabulary_size(self) -> int:
        """Number of columns; a query of another size is an error."""

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: Any | None = None,
        allowed: UInt64Array | None = None,
    ) -> SearchResult:
        """Return the best `k` rows.

        Parameters
        ----------
        query : SparseVector
            An empty query has an empty result.
        k : int
            1 to `MAX_K`.
        params : optional
            The index's own search parameters; its defaults otherwise.
        allowed : uint64, shape (ceil(n_documents / 64),), optional
            Bit ``r % 64`` of word ``r // 64`` lets row `r` into the result.
        """

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: Any | None = None,
        n_threads: int | None = None,
    ) -> BatchResult:
        """Return the best `k` rows of every query; threads share the queries."""

    def document(self, row: int) -> SparseVector:
        """Return the vector of a row as the index scores it."""

    def shortcut(
        self, query: SparseVector, row: int, k: int, *, params: Any | None = None
    ) -> tuple[Any, str]:
        """Return which shortcut of the layout kept a row out of a result that it belongs in.

        Returns
        -------
        (str, str)
            An `indexing.explain.Reason`, and a clause with the figures that ends the sentence.
        """

    def save_arrays(self, writer: Any) -> dict[str, Any]:
        """Write the index's arrays through an `ArtifactWriter`; return its manifest details."""

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of each array."""


def check_k(k: int) -> None:
    """Check the depth.

    Raises
    ------
    ArgumentError
        If `k` is not a whole number from 1 to `MAX_K`.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise ArgumentError(f"k must be a whole number from 1 to {MAX_K:,}, got {k!r}.")


def check_query(query: SparseVector | SparseMatrix, vocabulary_size: int) -> None:
    """Check that a query, or a batch, has the index's vocabulary size.

    Raises
    ------
    VocabularyMismatchError
        If the sizes differ.
    """
    if query.size != vocabulary_size:
        raise VocabularyMismatchError(
            f"The query vector has vocabulary size {query.size}, the index {vocabulary_size}.",
            hint="Encode the query with the encoder that made the index.",
        )


def check_row(row: int, n_documents: int) -> None:
    """Check a row number.

    Raises
    ------
    ArgumentError
        If there is no such row.
    """
    if not 0 <= row < n_documents:
        raise ArgumentError(f"Row {row} is outside an index of {n_documents} documents.")
