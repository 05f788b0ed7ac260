"""Exact search: every posting of the query's terms is read. The oracle of all other indexes.

The matrix is transposed in chunks of 65,536 rows: within a chunk a row is two bytes, and the
accumulator of a query stays in the core's own cache. A chunk is complete in itself, so a build
streams the collection, and takes no more memory than a few chunks beside its result.

Scores are sums in float32 in the order of the terms, so they are the same on every machine and
for any number of threads; see `indexing.kernels.exact_search`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing import kernels
from indexing.base import BatchResult, SearchResult, check_k, check_query, check_row
from indexing.config import IndexConfig
from indexing.filters import NO_FILTER, check_allowed
from indexing.jit import read_only
from indexing.source import MatrixSource, RowSource, row_chunks
from indexing.threads import ScratchPool, resolve_threads, run_parallel
from lsr.core.artifact import ArtifactWriter, open_array
from lsr.core.config import Config
from lsr.core.errors import ArgumentError
from lsr.core.manifest import Manifest
from lsr.core.sparse import (
    Float32Array,
    Int32Array,
    Int64Array,
    SparseMatrix,
    SparseVector,
    UInt16Array,
    UInt64Array,
)

__all__ = ["ExactIndex"]

_ARRAYS = ("pointers", "rows", "weights")


class _Scratch:
    """What one running query writes into."""

    def __init__(self) -> None:
        self.accumulator = np.zeros(kernels.CHUNK_ROWS, dtype=np.float32)
        self.accumulator_bits = self.accumulator.view(np.int32)
        self.heap = np.empty(0, dtype=np.uint64)

    def heap_for(self, k: int) -> UInt64Array:
        if len(self.heap) < k:
            self.heap = np.empty(k, dtype=np.uint64)
        return self.heap


class ExactIndex:
    """The transposed document vectors; made by `from_matrix`, `build` or `open`.

    Parameters
    ----------
    pointers : int64, shape (n_chunks * vocabulary_size + 1,)
    rows : uint16, shape (nnz,)
    weights : float32, shape (nnz,)
        See `indexing.kernels.exact_search`; all read-only.
    n_documents, vocabulary_size : int
    """

    kind: ClassVar[str] = "exact"
    params_model: ClassVar[type[Config] | None] = None

    def __init__(
        self,
        pointers: Int64Array,
        rows: UInt16Array,
        weights: Float32Array,
        *,
        n_documents: int,
        vocabulary_size: int,
    ) -> None:
        self._pointers = read_only(pointers)
        self._rows = read_only(rows)
        self._weights = read_only(weights)
        self._n_documents = n_documents
        self._vocabulary_size = vocabulary_size
        self._scratch = ScratchPool(_Scratch)

    @classmethod
    def from_matrix(cls, matrix: SparseMatrix, *, n_threads: int | None = None) -> ExactIndex:
        """Return the index of the rows of `matrix`, in memory."""
        source = MatrixSource(matrix)
        arrays = _transpose(source, _allocate, n_threads=resolve_threads(n_threads))
        return cls(*arrays, n_documents=matrix.n_rows, vocabulary_size=matrix.size)

    @classmethod
    def build(
        cls,
        source: RowSource,
        writer: ArtifactWriter,
        config: IndexConfig,
        *,
        n_threads: int | None = None,
    ) -> dict[str, Any]:
        """Write the index of `source` into an open artefact, chunk by chunk; return its details."""
        arrays = _transpose(source, writer.create_array, n_threads=resolve_threads(n_threads))
        for array in arrays:
            if isinstance(array, np.memmap):
                array.flush()
        return {"n_documents": source.n_documents, "vocabulary_size": source.vocabulary_size}

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> ExactIndex:
        """Return the memory-mapped index that `build` or `save_arrays` wrote."""
        pointers, rows, weights = (open_array(path, name, manifest) for name in _ARRAYS)
        return cls(
            pointers,
            rows,
            weights,
            n_documents=int(manifest.details["n_documents"]),
            vocabulary_size=int(manifest.details["vocabulary_size"]),
        )

    def save_arrays(self, writer: ArtifactWriter) -> dict[str, Any]:
        """Write the arrays through `writer`; return the manifest details that `open` needs."""
        writer.array("pointers", self._pointers)
        writer.array("rows", self._rows)
        writer.array("weights", self._weights)
        return {"n_documents": self.n_documents, "vocabulary_size": self.vocabulary_size}

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return self._n_documents

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""
        return self._vocabulary_size

    @property
    def nnz(self) -> int:
        """Number of postings."""
        return len(self._rows)

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: None = None,
        allowed: UInt64Array | None = None,
    ) -> SearchResult:
        """Return the best `k` rows.

        Parameters
        ----------
        query : SparseVector
            An empty query has an empty result.
        k : int
            1 to `indexing.base.MAX_K`.
        params : None
            Exact search has nothing to choose.
        allowed : uint64, shape (ceil(n_documents / 64),), optional
            Bitmap of the rows that may be results (`indexing.filters.bitmap`).

        Raises
        ------
        ArgumentError
            If `k`, `params` or `allowed` break their rule.
        VocabularyMismatchError
            If the query has another vocabulary size.
        """
        check_query(query, self.vocabulary_size)
        indptr = np.array([0, query.nnz], dtype=np.int64)
        found = self._search(
            (read_only(indptr), read_only(query.terms), read_only(query.weights)),
            k,
            params=params,
            allowed=check_allowed(allowed, self.n_documents),
            n_threads=1,
        )
        return found[0]

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: None = None,
        n_threads: int | None = None,
    ) -> BatchResult:
        """Return the best `k` rows of every query, in their order; threads share the queries.

        Raises
        ------
        ArgumentError
            If `k`, `params` or `n_threads` break their rule.
        VocabularyMismatchError
            If the queries have another vocabulary size.
        """
        check_query(queries, self.vocabulary_size)
        return self._search(
            (read_only(queries.indptr), read_only(queries.terms), read_only(queries.weights)),
            k,
            params=params,
            allowed=NO_FILTER,
            n_threads=resolve_threads(n_threads),
        )

    def _search(
        self,
        queries: tuple[Int64Array, Int32Array, Float32Array],
        k: int,
        *,
        params: None,
        allowed: UInt64Array,
        n_threads: int,
    ) -> BatchResult:
        check_k(k)
        if params is not None:
            raise ArgumentError(f"Exact search takes no parameters, got {params!r}.")
        n_queries = len(queries[0]) - 1
        depth = min(k, self.n_documents)
        out_rows = np.full((n_queries, k), -1, dtype=np.int32)
        out_scores = np.zeros((n_queries, k), dtype=np.float32)
        out_bits = out_scores.view(np.int32)

        def run(query: int) -> None:
            with self._scratch.borrow() as scratch:
                kernels.exact_search(
                    self._pointers,
                    self._rows,
                    self._weights,
                    self._n_documents,
                    self._vocabulary_size,
                    *queries,
                    query,
                    query + 1,
                    depth,
                    allowed,
                    scratch.accumulator,
                    scratch.accumulator_bits,
                    scratch.heap_for(depth),
                    out_rows,
                    out_bits,
                )

        if depth:
            run_parallel(run, n_queries, n_threads)
        return BatchResult(out_rows, out_scores)

    def score_rows(self, query: SparseVector, rows: Int64Array) -> Float32Array:
        """Return the scores of some rows (ascending), with the bits that `search` gives them.

        Cheaper than a search where the rows are few: the lists are searched, not read.
        """
        check_query(query, self.vocabulary_size)
        scores = np.empty(len(rows), dtype=np.float32)
        kernels.score_rows(
            self._pointers,
            self._rows,
            self._weights,
            self._vocabulary_size,
            read_only(query.terms),
            read_only(query.weights),
            read_only(rows),
            scores,
        )
        return scores

    def n_postings(self, query: SparseVector) -> int:
        """Return how many postings a search for `query` reads."""
        starts = np.arange(0, len(self._pointers) - 1, self._vocabulary_size)[:, None]
        at = starts + query.terms.astype(np.int64)
        return int((self._pointers[at + 1] - self._pointers[at]).sum())

    def document(self, row: int) -> SparseVector:
        """Return the vector of a row.

        Raises
        ------
        ArgumentError
            If there is no such row.
        """
        check_row(row, self.n_documents)
        terms = np.empty(self.vocabulary_size, dtype=np.int32)
        weights = np.empty(self.vocabulary_size, dtype=np.float32)
        n = kernels.document_terms(
            self._pointers,
            self._rows,
            self._weights,
            self.vocabulary_size,
            int(row),
            terms,
            weights,
        )
        return SparseVector(terms[:n].copy(), weights[:n].copy(), self.vocabulary_size)

    def shortcut(
        self, query: SparseVector, row: int, k: int, *, params: None = None
    ) -> tuple[str, str]:
        """Return what only rounding can cause: exact search takes no shortcut.

        A score within float32 rounding of the k-th one is the only way to miss a result.
        """
        return "below_kth_score", "ties with it up to rounding, and stands behind it."

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of each array."""
        return {
            "pointers": self._pointers.nbytes,
            "rows": self._rows.nbytes,
            "weights": self._weights.nbytes,
        }


def _allocate(name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.empty(shape, dtype=dtype)


def _transpose(
    source: RowSource,
    allocate: Callable[[str, Any, tuple[int, ...]], NDArray[Any]],
    *,
    n_threads: int,
) -> tuple[Int64Array, UInt16Array, Float32Array]:
    """Fill new arrays with the postings of `source`; at most `n_threads` chunks are in memory."""
    n_terms = source.vocabulary_size
    n_chunks = -(-source.n_documents // kernels.CHUNK_ROWS)
    pointers = allocate("pointers", np.int64, (n_chunks * n_terms + 1,))
    rows = allocate("rows", np.uint16, (source.nnz,))
    weights = allocate("weights", np.float32, (source.nnz,))

    done, at, chunks = 0, 0, row_chunks(source, kernels.CHUNK_ROWS)
    while batch := [chunk for _, chunk in zip(range(n_threads), chunks, strict=False)]:
        starts = at + np.cumsum([0, *(chunk.nnz for chunk in batch)])

        def run(
            item: int,
            batch: list[SparseMatrix] = batch,
            starts: Int64Array = starts,
            done: int = done,
        ) -> None:
            chunk, low, high = batch[item], int(starts[item]), int(starts[item + 1])
            first = (done + item) * n_terms
            kernels.transpose_rows(
                read_only(chunk.indptr),
                read_only(chunk.terms),
                read_only(chunk.weights),
                low,
                # Plain ndarrays: numba compiles memmap's subclass apart.
                np.asarray(pointers[first : first + n_terms]),
                np.asarray(rows[low:high]),
                np.asarray(weights[low:high]),
                np.empty(n_terms, dtype=np.int64),
            )

        run_parallel(run, len(batch), n_threads)
        done += len(batch)
        at = int(starts[-1])
    pointers[-1] = at
    return pointers, rows, weights
