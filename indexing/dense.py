"""Dense vectors in faiss: flat, which is exact, or a graph.

The dense half of a hybrid search, and what sparse retrieval is compared with. Vectors come from a
bi-encoder (`indexing.dense_encoder`); beside an index they are kept by `indexing.dense_folder`.

References
----------
Malkov & Yashunin, *Efficient and Robust Approximate Nearest Neighbor Search Using HNSW Graphs*,
TPAMI 2020 (m, ef).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from indexing.base import BatchResult, SearchResult
from indexing.dense_flat import faiss_module, ranked, selector, settled
from indexing.filtered import Passing
from lsr.core.errors import ArtifactCorruptedError, DataError
from lsr.core.sparse import Float32Array, Int32Array, Int64Array, UInt64Array

__all__ = ["DenseIndex", "DenseKind"]

DenseKind: TypeAlias = Literal["flat", "hnsw"]
# Of passing rows, up to which a graph is not followed.
_NARROW_SHARE = 0.1


class DenseIndex:
    """A faiss index over inner products.

    Parameters
    ----------
    vectors : float32, shape (n, width)
        Row by row the documents; more may be added.
    kind : {"flat", "hnsw"}
        Exact, or a graph.
    m, ef_construction, ef_search : int
        Of the graph. Higher: better recall; more memory (m), build time, search time.

    Raises
    ------
    MissingDependencyError
        If faiss is not installed.
    DataError
        If there are no vectors.
    """

    def __init__(
        self,
        vectors: Float32Array,
        *,
        kind: DenseKind = "flat",
        m: int = 32,
        ef_construction: int = 200,
        ef_search: int = 128,
    ) -> None:
        faiss = faiss_module()
        if vectors.ndim != 2 or len(vectors) == 0:
            raise DataError(f"A dense index needs rows of vectors, got shape {vectors.shape}.")
        self.kind: DenseKind = kind
        if kind == "flat":
            self._index: Any = faiss.IndexFlatIP(vectors.shape[1])
        else:
            self._index = faiss.IndexHNSWFlat(vectors.shape[1], m, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = ef_construction
            self._index.hnsw.efSearch = ef_search
        self.add(vectors)

    def add(self, vectors: Float32Array) -> None:
        """Append rows."""
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self._index.d)

    def save(self, path: Path) -> None:
        """Write it to the file `path`, in faiss' own format."""
        faiss_module().write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, *, kind: DenseKind) -> DenseIndex:
        """Return what `save` wrote, memory-mapped.

        Raises
        ------
        ArtifactCorruptedError
            If faiss cannot read it.
        MissingDependencyError
            If faiss is not installed.
        """
        faiss = faiss_module()
        made = cls.__new__(cls)
        made.kind = kind
        try:
            made._index = faiss.read_index(
                str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY
            )
        except RuntimeError as error:
            raise ArtifactCorruptedError(
                f"{path} cannot be read: {str(error).splitlines()[-1]}.",
                hint="Make the dense part again: lsr index dense.",
            ) from error
        return made

    def search_batch(
        self, queries: Float32Array, k: int, *, n_threads: int = 1, passing: Passing | None = None
    ) -> BatchResult:
        """Return the best `k` rows of every query: score descending, then row ascending.

        Negative inner products are results too, unlike in a sparse index. With `passing` only
        those rows: `k` of them whenever there are so many.
        """
        faiss_module().omp_set_num_threads(n_threads)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        depth = min(k, self.n_documents)
        n_rows = self.n_documents if passing is None else passing.count
        rows = np.full((len(queries), depth), -1, dtype=np.int32)
        scores = np.zeros((len(queries), depth), dtype=np.float32)
        if not n_rows:
            return BatchResult(rows, scores)
        words = passing.words if passing is not None else None
        # A graph that is led by all rows finds few where few pass: those are scanned.
        by_graph = self.kind == "hnsw" and n_rows > _NARROW_SHARE * self.n_documents
        # One more than asked for tells where rows tie for the last place.
        wide = depth if by_graph else min(depth + 1, n_rows)
        ahead = self._search(queries, wide, words, by_graph=by_graph)
        for at in range(len(queries)):
            found = ranked(ahead[0][at], ahead[1][at], depth)
            if (
                len(found.rows) < min(depth, n_rows)
                and passing is not None
                or not by_graph
                and wide < n_rows
                and ahead[0][at, -1] == found.scores[-1]
            ):
                found = self._scanned(queries[at], depth, n_rows, words)
            rows[at, : len(found.rows)] = found.rows
            scores[at, : len(found.rows)] = found.scores
        return BatchResult(rows, scores)

    def _scanned(
        self, query: Float32Array, k: int, n_rows: int, words: UInt64Array | None
    ) -> SearchResult:
        """Return the best rows of a bitmap that has `n_rows`, exactly."""

        def search(depth: int) -> tuple[Float32Array, Int64Array]:
            scores, rows = self._search(query[None], depth, words, by_graph=False)
            return scores[0], rows[0]

        return settled(search, k, n_rows)

    def _search(
        self, queries: Float32Array, depth: int, words: UInt64Array | None, *, by_graph: bool
    ) -> tuple[Float32Array, Int64Array]:
        """Return scores and rows as faiss orders them; a missing row is -1."""
        faiss = faiss_module()
        chosen = None if words is None else selector(words)
        if by_graph:
            effort = self._index.hnsw.efSearch
            params = faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)
            scores, rows = self._index.search(queries, depth, params=params)
            return scores, rows
        index = self._index if self.kind == "flat" else faiss.downcast_index(self._index.storage)
        params = None if chosen is None else faiss.SearchParameters(sel=chosen)
        scores, rows = index.search(queries, depth, params=params)
        return scores, rows

    def search(
        self, query: Float32Array, k: int, *, passing: Passing | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """Return rows and scores of one query, on the calling thread."""
        found = self.search_batch(query[None], k, passing=passing)
        return found[0]

    def vector(self, row: int) -> Float32Array:
        """Return the vector of a row."""
        made: Float32Array = self._index.reconstruct(row)
        return made

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of the vectors, and of the graph if there is one."""
        total = len(faiss_module().serialize_index(self._index))
        vectors = self.n_documents * self.width * 4
        return (
            {"vectors": vectors, "graph": max(0, total - vectors)}
            if self.kind == "hnsw"
            else {"vectors": vectors}
        )
