"""Packed origins: as short as said, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import DataError
from lsr.core.origins import Origins, OriginTable, places_in
from lsr.core.sparse import SparseMatrix

PIECES = st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 300)), max_size=40)


def origins(pieces: list[tuple[int, int]]) -> Origins:
    starts = np.array([start for start, _ in pieces], dtype=np.int32)
    lengths = np.array([length for _, length in pieces], dtype=np.int32)
    return Origins(starts, starts + lengths)


@given(rows=st.lists(PIECES, max_size=5))
def test_what_is_packed_comes_back(rows: list[list[tuple[int, int]]]) -> None:
    whole = origins([piece for row in rows for piece in row])
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    table = OriginTable.from_rows(whole.packed(indptr))
    assert len(table) == len(rows)
    for blob, row in zip(table, rows, strict=True):
        got, expected = Origins.unpacked(blob, len(row)), origins(row)
        assert got.starts.tolist() == expected.starts.tolist()
        assert got.ends.tolist() == expected.ends.tolist()


def test_terms_of_one_piece_cost_a_byte_each() -> None:
    of_200_terms = origins([(7 * (at % 40), 5) for at in range(200)])
    (blob,) = of_200_terms.packed(np.array([0, 200]))
    assert len(blob) <= 4 + 40 * 3 + 200


@pytest.mark.parametrize(
    "blob", [b"", b"\x09\x01\x00\x00", b"\x09\x01\x00\x00\x03\x04\x00\x00\x00"]
)
def test_other_bytes_are_an_error(blob: bytes) -> None:
    with pytest.raises(DataError, match="Packed origins"):
        Origins.unpacked(blob, 2)


def test_places_of_what_pruning_left() -> None:
    whole = SparseMatrix(
        np.array([0, 3, 3, 5]),
        np.array([1, 4, 9, 1, 4], dtype=np.int32),
        np.arange(1, 6, dtype=np.float32),
        (3, 10),
    )
    part = SparseMatrix(
        np.array([0, 1, 1, 2]),
        np.array([4, 1], dtype=np.int32),
        np.ones(2, dtype=np.float32),
        (3, 10),
    )
    assert places_in(whole, part).tolist() == [1, 3]
