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

from indexing.base import BatchResult
from lsr.core.errors import ArtifactCorruptedError, DataError, MissingDependencyError
from lsr.core.sparse import Float32Array, Int32Array

__all__ = ["DenseIndex", "DenseKind"]

DenseKind: TypeAlias = Literal["flat", "hnsw"]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingDependencyError("faiss", extra="hybrid", purpose="Dense retrieval") from None
    return faiss


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
        faiss = _faiss()
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
        _faiss().write_index(self._index, str(path))

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
        faiss = _faiss()
        made = cls.__new__(cls)
        made.kind = kind
        try:
            made._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise ArtifactCorruptedError(
                f"{path} cannot be read: {str(error).splitlines()[-1]}.",
                hint="Make the dense part again: lsr index dense.",
            ) from error
        return made

    def search_batch(self, queries: Float32Array, k: int, *, n_threads: int = 1) -> BatchResult:
        """Return the best `k` rows of every query: score descending, then row ascending.

        Negative inner products are results too, unlike in a sparse index.
        """
        _faiss().omp_set_num_threads(n_threads)
        depth = min(k, self.n_documents)
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), depth)
        order = np.lexsort((rows, -scores), axis=1)
        rows = np.take_along_axis(rows, order, axis=1).astype(np.int32)
        scores = np.take_along_axis(scores, order, axis=1)
        # The graph may find fewer: faiss marks them with -1, and they belong at the end.
        missing = rows < 0
        if missing.any():
            last = np.argsort(missing, axis=1, kind="stable")
            rows = np.take_along_axis(rows, last, axis=1)
            scores = np.take_along_axis(np.where(missing, 0, scores), last, axis=1)
        return BatchResult(rows, scores.astype(np.float32))

    def search(self, query: Float32Array, k: int) -> tuple[Int32Array, Float32Array]:
        """Return rows and scores of one query, on the calling thread."""
        found = self.search_batch(query[None], k)
        return found[0]

    def vector(self, row: int) -> Float32Array:
        """Return the vector of a row."""
        made: Float32Array = self._index.reconstruct(row)
        return made

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of the vectors, and of the graph if there is one."""
        total = len(_faiss().serialize_index(self._index))
        vectors = self.n_documents * self.width * 4
        return (
            {"vectors": vectors, "graph": max(0, total - vectors)}
            if self.kind == "hnsw"
            else {"vectors": vectors}
        )
