"""Dense vectors searched exactly, where they lie: rows of an array, memory-mapped or not.

faiss scores the rows in place (`knn_inner_product`), so a segment of a collection needs no index
beside its vectors and nothing is copied; a bitmap hides rows within the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from indexing.base import SearchResult
from indexing.filters import NO_FILTER
from lsr.core.errors import DataError, MissingDependencyError
from lsr.core.sparse import Float32Array, Int64Array, UInt64Array

__all__ = [
    "MAX_DENSE_WIDTH",
    "check_dense",
    "faiss_module",
    "nearest_rows",
    "ranked",
    "selector",
    "settled",
]

MAX_DENSE_WIDTH = 65_536
_LARGEST_NORM = 1e18
"""Inner products of longer vectors could leave the range of float32."""


def faiss_module() -> Any:
    """Return faiss; raises MissingDependencyError without it."""
    try:
        import faiss
    except ImportError:
        raise MissingDependencyError("faiss", extra="hybrid", purpose="Dense retrieval") from None
    return faiss


def selector(allowed: UInt64Array) -> Any:
    """Return faiss' form of a bitmap of rows; it reads `allowed`, which must outlive it."""
    faiss = faiss_module()
    return faiss.IDSelectorBitmap(allowed.nbytes, faiss.swig_ptr(allowed.view(np.uint8)))


def settled(
    search: Callable[[int], tuple[Float32Array, Int64Array]], k: int, n_rows: int
) -> SearchResult:
    """Return the best `k` of `n_rows` rows by the ranking rule: score descending, row ascending.

    faiss keeps any of the rows that tie for the last place. So one more than `k` is asked for, and
    more again where that one ties too.

    Parameters
    ----------
    search : callable
        Returns scores and rows of a depth, best first; a missing row is -1.
    """
    depth = min(k + 1, n_rows)
    while True:
        scores, rows = search(depth)
        if depth >= n_rows or scores[k - 1] > scores[depth - 1]:
            break
        depth = min(4 * depth, n_rows)
    return ranked(scores, rows, k)


def ranked(scores: Float32Array, rows: Int64Array, k: int) -> SearchResult:
    """Return the best `k` of what faiss found by the ranking rule; a row of -1 is none."""
    found = rows >= 0
    scores, rows = scores[found], rows[found]
    order = np.lexsort((rows, -scores))[:k]
    return SearchResult(rows[order].astype(np.int32), scores[order])


def nearest_rows(
    vectors: Float32Array,
    query: Float32Array,
    k: int,
    *,
    allowed: UInt64Array = NO_FILTER,
    n_allowed: int | None = None,
) -> SearchResult:
    """Return the best `k` rows by inner product, on the calling thread.

    Negative products are results too, unlike in a sparse index: `k` rows come back whenever so
    many are allowed.

    Parameters
    ----------
    vectors : float32, shape (n, width)
        In C order; not copied.
    query : float32, shape (width,)
    allowed : uint64
        Bitmap of rows (`indexing.filters`); empty for all.
    n_allowed : int, optional
        How many rows it has; all by default.

    Raises
    ------
    MissingDependencyError
        If faiss is not installed.
    """
    faiss = faiss_module()
    n_rows, width = vectors.shape
    n_allowed = n_rows if n_allowed is None else n_allowed
    if not n_allowed:
        return SearchResult(np.empty(0, np.int32), np.empty(0, np.float32))
    query = np.ascontiguousarray(query, dtype=np.float32)
    # Kept in a name: the selector reads it.
    words = np.ascontiguousarray(allowed)
    chosen = selector(words) if len(words) else None

    def search(depth: int) -> tuple[Float32Array, Int64Array]:
        scores = np.empty(depth, dtype=np.float32)
        rows = np.empty(depth, dtype=np.int64)
        pointers = (faiss.swig_ptr(a) for a in (query, vectors))
        faiss.knn_inner_product(
            *pointers, width, 1, n_rows, depth, faiss.swig_ptr(scores), faiss.swig_ptr(rows), chosen
        )
        return scores, rows

    return settled(search, k, n_allowed)


def check_dense(vectors: Any, width: int, names: Sequence[str]) -> Float32Array:
    """Return the dense vectors of the documents `names` as float32 in C order, checked.

    Raises
    ------
    DataError
        If there are not as many as documents, or one has another length, a value that is not
        finite, or a norm beyond 1e18.
    """
    rows: list[Float32Array] = []
    if len(vectors) != len(names):
        raise DataError(f"{len(names)} documents but {len(vectors)} dense vectors.")
    for name, vector in zip(names, vectors, strict=True):
        row = np.asarray(vector, dtype=np.float64)
        if row.shape != (width,):
            seen = f"{len(row)} numbers" if row.ndim == 1 else f"shape {row.shape}"
            raise DataError(
                f"The dense vector of {name!r} has {seen}, here it takes {width}.",
                hint="Encode it with the model that the dense half was made for.",
            )
        # Before the cast to float32, whose range a value or its square may leave.
        with np.errstate(over="ignore", invalid="ignore"):
            norm = float(np.linalg.norm(row))
        if not norm <= _LARGEST_NORM:
            raise DataError(
                f"The dense vector of {name!r} has a norm of {norm:g}: its values must be finite, "
                f"its norm at most {_LARGEST_NORM:g}.",
                hint="Look at what made it; normalised vectors have a norm of 1.",
            )
        rows.append(row.astype(np.float32))
    return np.stack(rows) if rows else np.empty((0, width), np.float32)
