import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ArgumentError
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.encoders.pruning import prune

rows = st.lists(
    st.dictionaries(st.integers(0, 19), st.sampled_from([0.25, 0.5, 1.0, 2.0]), max_size=8),
    max_size=6,
)


@given(rows, st.one_of(st.none(), st.integers(1, 9)), st.sampled_from([0.0, 0.5, 3.0]))
def test_pruning_is_the_row_by_row_definition(
    rows: list[dict[int, float]], n: int | None, floor: float
) -> None:
    vectors = [SparseVector.from_mapping(row, 20) for row in rows]
    got = prune(SparseMatrix.from_rows(vectors, 20), max_active_dims=n, min_weight=floor).check()
    for vector, pruned in zip(vectors, got, strict=True):
        expected = vector if n is None else vector.top(n)
        keep = expected.weights >= floor
        np.testing.assert_array_equal(pruned.terms, expected.terms[keep])
        np.testing.assert_array_equal(pruned.weights, expected.weights[keep])


def test_wrong_bounds_are_refused() -> None:
    with pytest.raises(ArgumentError, match="max_active_dims"):
        prune(SparseMatrix.empty(3), max_active_dims=0)
    with pytest.raises(ArgumentError, match="min_weight"):
        prune(SparseMatrix.empty(3), min_weight=-1)
