from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.filters import NO_FILTER, bitmap, check_allowed, rows_of
from lsr.core.errors import ArgumentError


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_bitmap_and_back(case: tuple[int, set[int]]) -> None:
    n_documents, rows = case
    words = bitmap(sorted(rows), n_documents)
    assert words.dtype == np.uint64
    assert len(words) == -(-n_documents // 64)
    assert all(int(words[r // 64]) >> (r % 64) & 1 == (r in rows) for r in range(n_documents))
    assert rows_of(words, n_documents).tolist() == sorted(rows)
    assert not check_allowed(words, n_documents).flags.writeable


def test_wrong_bitmaps() -> None:
    assert check_allowed(None, 10) is NO_FILTER
    assert len(check_allowed(np.empty(0, np.uint64), 0)) == 0
    with pytest.raises(ArgumentError, match="outside the 10 rows"):
        bitmap([10], 10)
    with pytest.raises(ArgumentError, match="uint64 of 1 words for 10 documents"):
        check_allowed(np.ones(1, np.int64), 10)  # type: ignore[arg-type]
