from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from lsr.core.errors import DataError, WeightError
from lsr.data.interchange.csr import (
    ids_path,
    read_csr,
    read_csr_vocabulary,
    vocabulary_path,
    write_csr,
)
from lsr.data.vectors import VectorCollection


def write_raw(
    path: Path, indptr: list[int], terms: list[int], weights: list[float], n_columns: int
) -> Path:
    """Write the format by hand, as its description has it."""
    header = np.array([len(indptr) - 1, n_columns, len(terms)], "<i8")
    arrays: list[Any] = [header, np.array(indptr, "<i8")]
    arrays += [np.array(terms, "<i4"), np.array(weights, "<f4")]
    path.write_bytes(b"".join(array.tobytes() for array in arrays))
    return path


def read_raw(path: Path) -> csr_array:
    """Read the format as the benchmark's own readers do."""
    with open(path, "rb") as stream:
        n_rows, n_columns, nnz = np.fromfile(stream, "<i8", 3)
        indptr = np.fromfile(stream, "<i8", n_rows + 1)
        terms = np.fromfile(stream, "<i4", nnz)
        weights = np.fromfile(stream, "<f4", nnz)
        assert not stream.read()
    return csr_array((weights, terms, indptr), shape=(n_rows, n_columns))


def test_what_is_written_is_the_matrix(tmp_path: Path, collection: VectorCollection) -> None:
    path = tmp_path / "c.csr"
    assert write_csr(collection, path) == collection.nnz
    written, expected = read_raw(path), collection.matrix().to_scipy()
    assert written.shape == expected.shape
    assert (written != expected).nnz == 0
    assert ids_path(path).read_text().splitlines() == list(collection.doc_ids())
    assert read_csr_vocabulary(path) == collection.vocabulary


def test_a_foreign_file_has_numbers_for_names_and_is_put_in_order(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "f.csr", [0, 2, 2, 4], [3, 1, 0, 2], [1.5, 2, 3, 0], 4)
    ((matrix, ids),) = read_csr(path)
    assert ids == ["0", "1", "2"]
    assert read_csr_vocabulary(path).tokens == ("0", "1", "2", "3")
    matrix.check()
    assert matrix.indptr.tolist() == [0, 2, 2, 3]
    assert matrix.terms.tolist() == [1, 3, 0]
    assert matrix.weights.tolist() == [2, 1.5, 3]


def test_parts_are_bounded(
    tmp_path: Path, collection: VectorCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsr.data.interchange import csr

    monkeypatch.setattr(csr, "_ROWS_A_PART", 128)
    write_csr(collection, tmp_path / "c.csr")
    parts = list(read_csr(tmp_path / "c.csr"))
    assert [matrix.n_rows for matrix, _ in parts] == [128, 128, 44]
    assert [i for _, ids in parts for i in ids] == list(collection.doc_ids())


@pytest.mark.parametrize(
    ("indptr", "terms", "weights", "error", "message"),
    [
        ([0, 1], [0], [float("nan")], WeightError, "is nan"),
        ([0, 1], [0], [-1.0], WeightError, "is -1.0"),
        ([0, 1], [4], [1.0], DataError, "a column outside its 4"),
        ([0, 1], [-1], [1.0], DataError, "a column outside its 4"),
        ([0, 2], [1, 1], [1.0, 1.0], DataError, "names a column twice"),
        ([0, 2, 1], [1], [1.0], DataError, "row pointers do not ascend"),
        ([1, 1], [1], [1.0], DataError, "row pointers do not ascend"),
    ],
)
def test_wrong_matrices_are_refused(
    tmp_path: Path,
    indptr: list[int],
    terms: list[int],
    weights: list[float],
    error: type[Exception],
    message: str,
) -> None:
    path = write_raw(tmp_path / "f.csr", indptr, terms, weights, 4)
    with pytest.raises(error, match=message):
        list(read_csr(path))


def test_files_that_are_cut_off_or_none(tmp_path: Path, collection: VectorCollection) -> None:
    path = tmp_path / "c.csr"
    with pytest.raises(DataError, match="No file at"):
        list(read_csr(path))
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="shorter than the header"):
        list(read_csr(path))
    write_csr(collection, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="cut off, compressed, or no big-ann matrix"):
        list(read_csr(path))


@pytest.mark.parametrize(("change", "message"), [(1, "has more ids"), (-1, "has 299 ids")])
def test_ids_must_be_as_many_as_rows(
    tmp_path: Path, collection: VectorCollection, change: int, message: str
) -> None:
    path = tmp_path / "c.csr"
    write_csr(collection, path)
    ids = ids_path(path).read_text().splitlines()
    ids = [*ids, "more"] if change > 0 else ids[:-1]
    ids_path(path).write_text("\n".join(ids))
    with pytest.raises(DataError, match=message):
        list(read_csr(path))


def test_a_matrix_without_rows(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "f.csr", [0], [], [], 4)
    assert list(read_csr(path)) == []
    assert not vocabulary_path(path).exists()
