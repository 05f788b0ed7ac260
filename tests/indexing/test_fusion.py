"""Fusing ranked results: by hand, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.fusion import Ranked, fuse, min_max, reciprocal_ranks

A = Ranked(["x", "y", "z"], [9.0, 5.0, 1.0])
B = Ranked(["y", "w"], [0.8, 0.2])


def test_reciprocal_ranks_by_hand() -> None:
    fused = fuse([A, B], [1.0, 1.0], reciprocal_ranks(60), 10)
    assert [f.doc_id for f in fused] == ["y", "x", "w", "z"]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert fused[0].ranks == (2, 1)
    assert fused[1].shares == pytest.approx((1 / 61, 0))
    assert fused[1].ranks == (1, None)


def test_convex_combination_by_hand() -> None:
    fused = fuse([A, B], [0.25, 0.75], min_max, 10)
    assert [(f.doc_id, f.score) for f in fused] == [
        ("y", pytest.approx(0.25 * 0.5 + 0.75)),
        ("x", pytest.approx(0.25)),
        # Alike: by document id.
        ("w", 0.0),
        ("z", 0.0),
    ]


def test_depth_reads_and_keeps_so_many() -> None:
    assert [f.doc_id for f in fuse([A, B], [1, 1], reciprocal_ranks(), 1)] == ["x"]
    assert fuse([Ranked([], []), Ranked([], [])], [1, 1], min_max, 5) == []
    assert min_max(np.array([3.0, 3.0])).tolist() == [1.0, 1.0]


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), min_size=2, max_size=3),
    st.floats(0, 5),
    st.booleans(),
)
def test_shares_sum_to_the_score(lists: list[list[str]], weight: float, reciprocal: bool) -> None:
    results = [Ranked(ids, [float(len(ids) - at) for at in range(len(ids))]) for ids in lists]
    weights = [weight] * len(results)
    fused = fuse(results, weights, reciprocal_ranks(1) if reciprocal else min_max, 10)
    assert {f.doc_id for f in fused} == {doc_id for ids in lists for doc_id in ids}
    assert [f.score for f in fused] == sorted((f.score for f in fused), reverse=True)
    for one in fused:
        assert one.score == pytest.approx(sum(one.shares))
        for at, ids in enumerate(lists):
            expected = ids.index(one.doc_id) + 1 if one.doc_id in ids else None
            assert one.ranks[at] == expected
