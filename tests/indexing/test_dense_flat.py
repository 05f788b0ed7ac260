"""Dense rows searched where they lie: brute force, ties, bitmaps, and what may be written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.dense_flat import check_dense, nearest_rows
from indexing.filters import bitmap
from lsr.core.errors import DataError


@given(
    n_rows=st.integers(1, 150),
    width=st.integers(1, 9),
    k=st.integers(1, 200),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    spread=st.sampled_from([0, 1, 50]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_the_best_rows_whatever_ties(
    n_rows: int, width: int, k: int, share: float, spread: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: products are exact, and with a spread of 0 all of them tie.
    vectors = rng.integers(-spread, spread + 1, (n_rows, width)).astype(np.float32)
    query = rng.integers(-spread, spread + 1, width).astype(np.float32)
    allowed = np.flatnonzero(rng.random(n_rows) < share)
    best = sorted(allowed.tolist(), key=lambda row: (-float(vectors[row] @ query), row))[:k]
    words = bitmap(allowed, n_rows)
    found = nearest_rows(vectors, query, k, allowed=words, n_allowed=len(allowed))
    assert found.rows.tolist() == best
    assert found.scores.tolist() == (vectors @ query)[best].tolist()
    if share == 1.0:
        assert nearest_rows(vectors, query, k).rows.tolist() == best


def test_vectors_that_are_refused() -> None:
    good = [[1.0, 2.0], [3.0, 4.0]]
    assert check_dense(good, 2, ["a", "b"]).dtype == np.float32
    assert check_dense([], 2, []).shape == (0, 2)
    cases = [
        ([[1.0, 2.0], [3.0]], "'b' has 1 numbers, here it takes 2"),
        ([[1.0, 2.0], [[3.0, 4.0]]], "'b' has shape"),
        ([[1.0, 2.0], [np.nan, 0.0]], "'b' has a norm of nan"),
        ([[np.inf, 2.0], [1.0, 0.0]], "'a' has a norm of inf"),
        ([[1.0, 2.0], [1e30, 0.0]], "at most 1e\\+18"),
        ([[1.0, 2.0], [1e300, 0.0]], "norm of inf"),
        ([[1.0, 2.0]], "2 documents but 1 dense"),
    ]
    for vectors, message in cases:
        with pytest.raises(DataError, match=message):
            check_dense(vectors, 2, ["a", "b"])
