from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr.core.errors import (
    ArtifactCorruptedError,
    ArtifactExistsError,
    ArtifactNotFoundError,
    DataError,
    DuplicateIdError,
    WeightError,
)
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.vectors import open_vectors, write_vectors

VOCABULARY = Vocabulary(["a", "b", "c"])


def matrix(*rows: dict[int, float]) -> SparseMatrix:
    return SparseMatrix.from_rows([SparseVector.from_mapping(r, 3) for r in rows], 3)


def write(path: Path, *parts: tuple[SparseMatrix, list[str]], **arguments: object) -> None:
    write_vectors(path, parts, VOCABULARY, encoder="x", idf="none", **arguments)  # type: ignore[arg-type]


def test_shards_ids_and_counts_come_back(tmp_path: Path) -> None:
    one, two = matrix({0: 1.5}, {}), matrix({0: 1, 2: 2})
    write(tmp_path / "v", (one, ["d1", "ä"]), (two, ["d3"]))
    vectors = open_vectors(tmp_path / "v")
    assert (vectors.n_documents, vectors.nnz, vectors.n_shards) == (3, 3, 2)
    assert list(vectors.doc_ids()) == ["d1", "ä", "d3"]
    assert vectors.vocabulary == VOCABULARY
    assert vectors.manifest.details["vocabulary_fingerprint"] == VOCABULARY.fingerprint
    whole = vectors.matrix()
    assert whole.shape == (3, 3)
    assert whole.indptr.tolist() == [0, 1, 1, 3]
    assert whole.terms.tolist() == [0, 0, 2]
    assert whole.weights.tolist() == [1.5, 1, 2]
    assert not vectors.shard(0).weights.flags.writeable
    assert vectors.query_encoder_path is None


def test_the_query_side_travels_along(tmp_path: Path) -> None:
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / "x.json").write_text("{}")
    write(tmp_path / "v", (matrix({}), ["d"]), query_encoder=tmp_path / "side")
    path = open_vectors(tmp_path / "v").query_encoder_path
    assert path is not None
    assert (path / "x.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([(matrix({}, {}), ["a", "a"])], DuplicateIdError, "'a' stands twice"),
        ([(matrix({}), ["a"]), (matrix({}), ["a"])], DuplicateIdError, "'a' stands twice"),
        ([(matrix({}), ["a", "b"])], DataError, "1 vectors but 2 ids"),
        ([(SparseMatrix.empty(4), [])], DataError, "4 columns, the vocabulary 3"),
        (
            [
                (
                    SparseMatrix(
                        np.array([0, 1]),
                        np.array([0], np.int32),
                        np.array([np.nan], np.float32),
                        (1, 3),
                    ),
                    ["a"],
                )
            ],
            WeightError,
            "is nan",
        ),
    ],
)
def test_wrong_parts_are_refused_and_leave_nothing(
    tmp_path: Path,
    parts: list[tuple[SparseMatrix, list[str]]],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        write(tmp_path / "v", *parts)
    assert list(tmp_path.iterdir()) == []


def test_existing_missing_and_damaged_collections(tmp_path: Path) -> None:
    path = tmp_path / "v"
    with pytest.raises(ArtifactNotFoundError):
        open_vectors(path)
    write(path, (matrix({0: 1}), ["a"]))
    with pytest.raises(ArtifactExistsError):
        write(path, (matrix({0: 2}), ["b"]))
    write(path, (matrix({0: 2}), ["b"]), overwrite=True)
    assert list(open_vectors(path).doc_ids()) == ["b"]
    file = path / "shard-00000" / "weights.npy"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(ArtifactCorruptedError, match="truncated"):
        open_vectors(path)
