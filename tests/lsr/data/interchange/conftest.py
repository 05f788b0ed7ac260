from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.vectors import VectorCollection, write_vectors

SIZE = 60
TOKENS = tuple(f"{'##' if t % 7 == 0 else ''}tok{t}ä" for t in range(SIZE))


def random_rows(
    rng: np.random.Generator, n: int, nnz: int, *, heaviest: float = 3.0
) -> list[SparseVector]:
    """Return `n` vectors of `nnz` of the 60 terms, weights in (0, heaviest]."""
    rows = []
    for _ in range(n):
        terms = np.sort(rng.choice(SIZE - 1, nnz, replace=False))
        rows.append(SparseVector.from_arrays(terms, heaviest * (1 - rng.random(nnz)), SIZE))
    return rows


@pytest.fixture
def collection(tmp_path: Path, rng: np.random.Generator) -> VectorCollection:
    """300 documents in two shards; one of them and the last term are empty."""
    rows = random_rows(rng, 300, 12)
    rows[5] = SparseVector.from_arrays([], [], SIZE)
    ids = [f"doc {i}" for i in range(300)]
    parts = [
        (SparseMatrix.from_rows(rows[:200], SIZE), ids[:200]),
        (SparseMatrix.from_rows(rows[200:], SIZE), ids[200:]),
    ]
    return write_vectors(
        tmp_path / "collection", parts, Vocabulary(TOKENS), encoder="tiny", idf="query"
    )


def exact_top(
    rows: list[SparseVector], query: SparseVector, k: int
) -> tuple[list[int], list[float]]:
    """Return rows and scores by plain inner products: score descending, row ascending."""
    scores = np.array([row.dot(query) for row in rows])
    order = np.lexsort((np.arange(len(rows)), -scores))[:k]
    return order.tolist(), scores[order].tolist()
