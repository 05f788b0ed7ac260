from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.core.errors import ArgumentError, DataError, WeightError
from lsr.core.vocabulary import Vocabulary
from lsr.data.interchange.lsr_benchmark import read_lsr_benchmark, write_lsr_benchmark
from lsr.data.vectors import VectorCollection


def write_raw(folder: Path, ids: str = "a\nb\n", **arrays: Any) -> Path:
    defaults = {
        "data": np.array([1.5, 2, 3], np.float32),
        "indices": np.array([3, 1, 0]),
        "indptr": np.array([0, 2, 3]),
    }
    path = folder / "query-embeddings.npz"
    folder.mkdir(exist_ok=True)
    np.savez(path, **{k: v for k, v in (defaults | arrays).items() if v is not None})
    (folder / "query-ids.txt").write_text(ids)
    return path


def test_its_own_reader_finds_the_vectors(tmp_path: Path, collection: VectorCollection) -> None:
    path = tmp_path / "doc" / "doc-embeddings.npz"
    assert write_lsr_benchmark(collection, path) == collection.nnz
    # As lsr_benchmark.irds.embeddings reads it.
    ids = (path.parent / "doc-ids.txt").read_text().strip().split("\n")
    archive = np.load(path)
    tokens, start = archive["indices"].astype("U30"), 0
    rows = list(collection.matrix())
    assert ids == list(collection.doc_ids())
    for row, end in zip(rows, archive["indptr"][1:].tolist(), strict=True):
        assert [int(t) for t in tokens[start:end]] == row.terms.tolist()
        assert archive["data"][start:end].tolist() == row.weights.tolist()
        start = end


def test_a_foreign_archive_has_numbers_for_tokens(tmp_path: Path) -> None:
    vocabulary, parts = read_lsr_benchmark(write_raw(tmp_path / "q"))
    ((matrix, ids),) = parts
    assert vocabulary.tokens == ("0", "1", "2", "3")
    assert ids == ["a", "b"]
    matrix.check()
    assert matrix.terms.tolist() == [1, 3, 0]
    assert matrix.weights.tolist() == [2, 1.5, 3]
    spelled = np.array(["3", "1", "0"])
    ((again, _),) = read_lsr_benchmark(write_raw(tmp_path / "r", indices=spelled))[1]
    assert again == matrix


@pytest.mark.parametrize(
    ("ids", "arrays", "error", "message"),
    [
        ("a\n", {}, DataError, "has 1 ids, the matrix 2 rows"),
        ("a\nb\n", {"data": np.array([1, -1, 1.0])}, WeightError, "is -1.0"),
        ("a\nb\n", {"data": np.array([1, np.nan, 1.0])}, WeightError, "is nan"),
        ("a\nb\n", {"indptr": np.array([0, 2, 2])}, DataError, "row pointers do not ascend"),
        ("a\nb\n", {"indices": np.array([1, 1, 0])}, DataError, "a token twice in one row"),
        ("a\nb\n", {"indices": np.array([-1, 1, 0])}, DataError, "do not fit its weights"),
        ("a\nb\n", {"indices": np.array(["x", "1", "0"])}, DataError, "else than a number"),
        ("a\nb\n", {"data": None}, DataError, "no archive with data, indices and indptr"),
        ("a\nb\n", {"data": np.array([1, {}, 2])}, DataError, "no archive with data"),
    ],
)
def test_wrong_archives_are_refused(
    tmp_path: Path, ids: str, arrays: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = write_raw(tmp_path / "q", ids, **arrays)
    with pytest.raises(error, match=message):
        list(read_lsr_benchmark(path)[1])


def test_names_missing_files_and_vocabularies(tmp_path: Path, collection: VectorCollection) -> None:
    with pytest.raises(ArgumentError, match="is called doc-embeddings.npz or query-"):
        write_lsr_benchmark(collection, tmp_path / "vectors.npz")
    with pytest.raises(DataError, match="No file at"):
        read_lsr_benchmark(tmp_path / "doc-embeddings.npz")
    path = write_raw(tmp_path / "q")
    with pytest.raises(DataError, match="names token 3, the vocabulary has 2"):
        read_lsr_benchmark(path, Vocabulary(["x", "y"]))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="no archive with"):
        read_lsr_benchmark(path)
