"""Exact search is brute force with the ranking rule, whatever k, threads, filter and file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.base import MAX_K, SearchResult
from indexing.config import IndexConfig
from indexing.exact import ExactIndex
from indexing.filters import bitmap
from indexing.kernels import CHUNK_ROWS
from indexing.source import MatrixSource
from lsr.core.artifact import read_manifest, write_artifact
from lsr.core.errors import ArgumentError, VocabularyMismatchError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix, SparseVector
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

SIZE = 20


def brute_force(
    documents: SparseMatrix, query: SparseVector, k: int, allowed: set[int] | None = None
) -> list[tuple[int, float]]:
    scored = [(row, vector.dot(query)) for row, vector in enumerate(documents)]
    kept = [x for x in scored if x[1] > 0 and (allowed is None or x[0] in allowed)]
    return sorted(kept, key=lambda x: (-x[1], x[0]))[:k]


def pairs(result: SearchResult) -> list[tuple[int, float]]:
    return list(zip(result.rows.tolist(), result.scores.tolist(), strict=True))


@settings(deadline=None)
@given(sparse_matrices(SIZE), sparse_vectors(SIZE), st.integers(1, 40), st.data())
def test_equals_brute_force(
    documents: SparseMatrix, query: SparseVector, k: int, data: st.DataObject
) -> None:
    index = ExactIndex.from_matrix(documents, n_threads=1)
    # Weights are quarters, so scores are exact and ties are real.
    assert pairs(index.search(query, k)) == brute_force(documents, query, k)
    if documents.n_rows:
        rows = data.draw(st.sets(st.integers(0, documents.n_rows - 1)))
        found = index.search(query, k, allowed=bitmap(sorted(rows), documents.n_rows))
        assert pairs(found) == brute_force(documents, query, k, rows)


def test_ties_go_to_the_lower_row() -> None:
    same = SparseVector.from_mapping({3: 1.0, 7: 2.0}, SIZE)
    index = ExactIndex.from_matrix(SparseMatrix.from_rows([same] * 200, SIZE))
    found = index.search(same, 70)
    assert found.rows.tolist() == list(range(70))
    assert set(found.scores.tolist()) == {5.0}


@pytest.mark.parametrize("n_rows", [CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 5])
def test_sizes_around_the_chunk(n_rows: int) -> None:
    # One posting in the first, the last and the rows beside the boundary; the others are empty.
    filled = sorted({0, n_rows - 1, min(n_rows - 1, CHUNK_ROWS - 1), min(n_rows - 1, CHUNK_ROWS)})
    indptr = np.zeros(n_rows + 1, np.int64)
    indptr[np.array(filled) + 1] = 1
    documents = SparseMatrix(
        np.cumsum(indptr),
        np.full(len(filled), 4, np.int32),
        np.arange(1, len(filled) + 1, dtype=np.float32),
        (n_rows, SIZE),
    )
    index = ExactIndex.from_matrix(documents, n_threads=2)
    query = SparseVector.from_mapping({4: 2.0, 5: 1.0}, SIZE)
    found = index.search(query, 10)
    assert found.rows.tolist() == filled[::-1]
    assert found.scores.tolist() == [2.0 * n for n in range(len(filled), 0, -1)]
    assert index.document(n_rows - 1) == documents.row(n_rows - 1)
    assert index.search(query, 2, allowed=bitmap([0], n_rows)).rows.tolist() == [0]


def test_batch_equals_single_for_any_threads(rng: np.random.Generator) -> None:
    documents = random_matrix(rng, 300, SIZE, 6)
    queries = random_matrix(rng, 25, SIZE, 4)
    index = ExactIndex.from_matrix(documents)
    one = index.search_batch(queries, 7, n_threads=1)
    four = index.search_batch(queries, 7, n_threads=4)
    np.testing.assert_array_equal(one.rows, four.rows)
    np.testing.assert_array_equal(one.scores, four.scores)
    assert len(one) == 25
    for at, query in enumerate(queries):
        single = index.search(query, 7)
        np.testing.assert_array_equal(one[at].rows, single.rows)
        np.testing.assert_array_equal(one[at].scores, single.scores)


def test_empty_things() -> None:
    none = ExactIndex.from_matrix(SparseMatrix.empty(SIZE))
    query = SparseVector.from_mapping({1: 1.0}, SIZE)
    assert pairs(none.search(query, 5)) == []
    empty_rows = SparseMatrix(
        np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), (3, SIZE)
    )
    index = ExactIndex.from_matrix(empty_rows)
    assert pairs(index.search(query, 5)) == []
    assert index.document(2).nnz == 0
    assert pairs(index.search(SparseVector.from_mapping({}, SIZE), 5)) == []
    assert len(index.search_batch(SparseMatrix.empty(SIZE), 5)) == 0


def test_k_above_n_and_the_deepest_k(rng: np.random.Generator) -> None:
    documents = SparseMatrix.from_scipy(rng.random((12_000, 3)) + 0.1)
    index = ExactIndex.from_matrix(documents)
    query = documents.row(0)
    deepest = index.search(query, MAX_K)
    assert len(deepest.rows) == MAX_K
    assert (np.diff(deepest.scores) <= 0).all()
    few = ExactIndex.from_matrix(documents.rows(0, 4)).search(query, MAX_K)
    assert sorted(few.rows.tolist()) == [0, 1, 2, 3]


def test_weights_at_the_extremes() -> None:
    tiny, large = 2.0**-140, 2.0**120
    documents = SparseMatrix.from_rows(
        [SparseVector.from_mapping({0: weight}, 2) for weight in (tiny, large, 1.0)], 2
    )
    index = ExactIndex.from_matrix(documents)
    found = index.search(SparseVector.from_mapping({0: 1.0}, 2), 3)
    assert pairs(found) == [(1, large), (2, 1.0), (0, tiny)]
    # Interpreted kernels warn of the overflow, compiled ones do not.
    with np.errstate(over="ignore"):
        overflow = index.search(SparseVector.from_mapping({0: large}, 2), 3)
    assert overflow.rows.tolist() == [1, 2, 0]
    assert np.isinf(overflow.scores[0])
    # A product that underflows is a score of 0, which is no result.
    assert index.search(SparseVector.from_mapping({0: 2.0**-100}, 2), 3).rows.tolist() == [1, 2]


def test_large_vocabulary_and_long_query(rng: np.random.Generator) -> None:
    size = 100_000
    documents = random_matrix(rng, 40, size, 300)
    query = random_matrix(rng, 1, size, 400).row(0)
    index = ExactIndex.from_matrix(documents)
    found = index.search(query, 10)
    expected = brute_force(documents, query, 10)
    assert found.rows.tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(found.scores, [score for _, score in expected], rtol=1e-5)
    assert index.document(17) == documents.row(17)


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 10**9, True, 2.0])
def test_k_outside_its_rule(k: int) -> None:
    index = ExactIndex.from_matrix(SparseMatrix.empty(SIZE))
    with pytest.raises(ArgumentError, match="k must be a whole number from 1 to 10,000"):
        index.search(SparseVector.from_mapping({}, SIZE), k)


def test_wrong_arguments(rng: np.random.Generator) -> None:
    index = ExactIndex.from_matrix(random_matrix(rng, 5, SIZE, 4))
    query = SparseVector.from_mapping({1: 1.0}, SIZE)
    with pytest.raises(VocabularyMismatchError, match="vocabulary size 21, the index 20"):
        index.search(SparseVector.from_mapping({1: 1.0}, SIZE + 1))
    with pytest.raises(VocabularyMismatchError):
        index.search_batch(SparseMatrix.empty(SIZE - 1))
    with pytest.raises(ArgumentError, match="no parameters"):
        index.search(query, params={"query_cut": 5})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="uint64 of 1 words"):
        index.search(query, allowed=np.zeros(2, np.uint64))
    with pytest.raises(ArgumentError, match="Row 5 is outside"):
        index.document(5)
    with pytest.raises(ArgumentError, match="n_threads"):
        index.search_batch(SparseMatrix.empty(SIZE), n_threads=0)


@pytest.mark.parametrize("n_rows", [0, 1, 50])
def test_save_open_search_is_bit_equal(
    rng: np.random.Generator, tmp_path: Path, n_rows: int
) -> None:
    documents = random_matrix(rng, n_rows, SIZE, 5)
    queries = random_matrix(rng, 10, SIZE, 4)
    index = ExactIndex.from_matrix(documents)
    expected = index.search_batch(queries, 10)
    saved, built = Manifest.new("index", 1), Manifest.new("index", 1)
    with write_artifact(tmp_path / "saved", saved, overwrite=False) as writer:
        saved.details.update(index.save_arrays(writer))
    with write_artifact(tmp_path / "built", built, overwrite=False) as writer:
        source = MatrixSource(documents)
        built.details.update(ExactIndex.build(source, writer, IndexConfig(), n_threads=2))
    for name in ("saved", "built"):
        path = tmp_path / name
        opened = ExactIndex.open(path, read_manifest(path, kind="index", format_version=1))
        found = opened.search_batch(queries, 10)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert opened.bytes_by_part() == index.bytes_by_part()
        assert opened.nnz == documents.nnz
