"""The clustered index: exact mode is brute force, approximate results hold what they promise."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import reference_clustered as reference
from indexing.clustered import ClusteredIndex
from indexing.config_clustered import ClusteredLayout, ClusteredParams
from indexing.explain import why_not
from indexing.filters import NO_FILTER, bitmap
from indexing.jit import COMPILED
from indexing.kernels_arrays import Documents, Query
from lsr.core.artifact import read_manifest, write_artifact
from lsr.core.errors import ArgumentError, ArtifactFormatError, VocabularyMismatchError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix, SparseVector, UInt64Array
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

SIZE = 30
EXACT = ClusteredParams(exact=True)
# Rows of all lists dense, of none, and the default.
LAYOUTS = (
    ClusteredLayout(dense_share=1.0, regroup_rows=0),
    ClusteredLayout(dense_share=1e-6, regroup_rows=16),
    ClusteredLayout(),
    ClusteredLayout(wide_rows=16, dense_share=0.2),
)
N = 60 if not COMPILED else 1_000


def brute(
    index: ClusteredIndex, query: SparseVector, k: int, allowed: UInt64Array = NO_FILTER
) -> tuple[list[int], list[float]]:
    rows, scores = reference.clustered_search(
        Documents(*index._parts.arguments()[0]),
        index._inverse_scale,
        Query(query.terms, query.weights),
        k,
        allowed,
        index.vocabulary_size,
    )
    return rows.tolist(), scores.tolist()


def found(index: ClusteredIndex, query: SparseVector, k: int, **options: object) -> object:
    result = index.search(query, k, **options)  # type: ignore[arg-type]
    return result.rows.tolist(), result.scores.tolist()


@settings(deadline=None, max_examples=40 if COMPILED else 5)
@given(
    sparse_matrices(SIZE, min_rows=1),
    sparse_vectors(SIZE),
    st.integers(1, 30),
    st.sampled_from(LAYOUTS),
)
def test_exact_mode_is_brute_force(
    matrix: SparseMatrix, query: SparseVector, k: int, layout: ClusteredLayout
) -> None:
    index = ClusteredIndex.from_matrix(matrix, layout, n_threads=1)
    assert found(index, query, k, params=EXACT) == brute(index, query, k)


@settings(deadline=None, max_examples=40 if COMPILED else 5)
@given(
    sparse_matrices(SIZE, min_rows=1),
    sparse_vectors(SIZE),
    st.integers(1, 30),
    st.data(),
    st.booleans(),
)
def test_filters_apply_inside_and_results_are_full(
    matrix: SparseMatrix, query: SparseVector, k: int, data: st.DataObject, exact: bool
) -> None:
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    chosen = data.draw(st.sets(st.integers(0, matrix.n_rows - 1)))
    allowed = bitmap(sorted(chosen), matrix.n_rows)
    expected = brute(index, query, k, allowed)
    params = ClusteredParams(exact=exact, query_mass=0.3, max_blocks=1)
    rows = index.search(query, k, params=params, allowed=allowed).rows.tolist()
    assert set(rows) <= chosen
    assert len(rows) == len(expected[0])
    if exact:
        assert rows == expected[0]


@pytest.mark.parametrize("n_rows", [1, 3, 4, 5, 63, 64, 65, 255, 256, 257, 1023, 1025])
def test_sizes_around_block_and_run_boundaries(n_rows: int, rng: np.random.Generator) -> None:
    if not COMPILED and n_rows > 65:
        pytest.skip("interpreted")
    matrix = random_matrix(rng, n_rows, 200, 10)
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    for query in random_matrix(rng, 3, 200, 6):
        for k in (1, 10, n_rows, n_rows + 7):
            expected = brute(index, query, k)
            assert found(index, query, k, params=EXACT) == expected
            assert len(found(index, query, k)[0]) == len(expected[0])  # type: ignore[index]


def test_many_blocks_cross_chunks(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    # More than 65,536 blocks, with rows of one or two terms.
    n = 4 * 65_536 + 9
    terms = rng.integers(0, 50, n).astype(np.int32)
    weights = (rng.integers(1, 1000, n) / 16).astype(np.float32)
    matrix = SparseMatrix(np.arange(n + 1, dtype=np.int64), terms, weights, (n, 50))
    index = ClusteredIndex.from_matrix(
        matrix, ClusteredLayout(dense_share=0.05, regroup_rows=0, n_iterations=2), n_threads=2
    )
    query = SparseVector.from_arrays([3, 17, 40], [1.0, 2.0, 0.5], 50)
    scores = np.zeros(n, dtype=np.float32)
    for term, weight in zip(query.terms, query.weights, strict=True):
        scores[terms == term] = weight * weights[terms == term]
    best = np.lexsort((np.arange(n), -scores))[:100]
    result = index.search(query, 100, params=EXACT)
    assert result.rows.tolist() == best.tolist()
    np.testing.assert_allclose(result.scores, scores[best], rtol=1e-3)


def test_approximate_results_are_exact_where_everything_is_visited(
    rng: np.random.Generator,
) -> None:
    matrix, queries = random_matrix(rng, N, 300, 20), random_matrix(rng, 20, 300, 8)
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    layered = ClusteredIndex.from_matrix(
        matrix, ClusteredLayout(wide_rows=16, dense_share=0.1), n_threads=1
    )
    everything = ClusteredParams(
        query_mass=1.0, max_blocks=N, max_wide_blocks=N, rescore_share=0.01
    )
    for query in queries:
        assert found(index, query, 10, params=everything) == brute(index, query, 10)
        assert found(layered, query, 10, params=everything) == brute(layered, query, 10)


def test_recall_grows_with_blocks_and_certificates_are_true(rng: np.random.Generator) -> None:
    matrix, queries = random_matrix(rng, N, 300, 20), random_matrix(rng, 20, 300, 8)
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    recalls, proven = [], 0
    brutes = [brute(index, query, 10) for query in queries]
    for max_blocks in (10, 40, 200, N):
        hits = 0
        for query, exact in zip(queries, brutes, strict=True):
            params = ClusteredParams(query_mass=1.0, max_blocks=max_blocks)
            result, stats = index.search_with_stats(query, 10, params=params)
            hits += len(set(result.rows.tolist()) & set(exact[0]))
            assert stats.documents_scored <= 4 * max(stats.blocks_visited, 1)
            if stats.proven:
                proven += 1
                assert (result.rows.tolist(), result.scores.tolist()) == exact
        recalls.append(hits)
    assert recalls == sorted(recalls)
    assert recalls[-1] == sum(len(rows) for rows, _ in brutes)
    assert proven > 0


@pytest.mark.parametrize("wide_rows", [0, 16, 32, 64])
def test_deep_results_keep_their_recall(wide_rows: int, rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    matrix, queries = random_matrix(rng, 4_000, 500, 20), random_matrix(rng, 10, 500, 8)
    layout = ClusteredLayout(wide_rows=wide_rows, regroup_rows=64)
    index = ClusteredIndex.from_matrix(matrix, layout, n_threads=1)
    assert index.wide_rows == wide_rows
    for k in (1, 10, 100, 1_000):
        hits = total = 0
        for query in queries:
            exact = set(index.search(query, k, params=EXACT).rows.tolist())
            result = index.search(query, k)
            assert len(result.rows) == len(exact)
            hits += len(exact & set(result.rows.tolist()))
            total += len(exact)
        assert hits / total >= 0.9, f"recall@{k} {hits / total:.3f}, bound .9"


@pytest.mark.parametrize("wide_rows", [0, 16])
def test_filtered_results_keep_their_recall(wide_rows: int, rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    matrix, queries = random_matrix(rng, 8_000, 300, 20), random_matrix(rng, 20, 300, 8)
    layout = ClusteredLayout(wide_rows=wide_rows, regroup_rows=64)
    index = ClusteredIndex.from_matrix(matrix, layout, n_threads=1)
    params = ClusteredParams(max_blocks=100, max_wide_blocks=40)
    recalls = []
    # One row in five is enough for the traversal to pass over the others.
    for allowed in (None, bitmap(np.arange(0, 8_000, 5), 8_000)):
        hits = total = 0
        for query in queries:
            exact = set(index.search(query, 10, params=EXACT, allowed=allowed).rows.tolist())
            hits += len(exact & set(index.search(query, 10, params=params, allowed=allowed).rows))
            total += len(exact)
        recalls.append(hits / total)
    assert recalls[1] >= recalls[0] - 0.05, f"recall {recalls[0]:.3f}, filtered {recalls[1]:.3f}"


def test_ties_go_to_the_smaller_row() -> None:
    rows = [SparseVector.from_arrays([n % 3], [2.0], 5) for n in range(50)]
    index = ClusteredIndex.from_matrix(SparseMatrix.from_rows(rows, 5), n_threads=1)
    query = SparseVector.from_arrays([1], [1.0], 5)
    assert index.search(query, 5, params=EXACT).rows.tolist() == [1, 4, 7, 10, 13]
    assert index.search(query, 50).rows.tolist() == list(range(1, 50, 3))


def test_empty_rows_queries_and_collections() -> None:
    empty = SparseVector.from_arrays([], [], 5)
    full = SparseVector.from_arrays([2], [1.0], 5)
    index = ClusteredIndex.from_matrix(SparseMatrix.from_rows([empty, full, empty], 5))
    assert index.search(empty).rows.tolist() == []
    assert index.search(full).rows.tolist() == [1]
    assert index.search(SparseVector.from_arrays([4], [1.0], 5)).rows.tolist() == []
    assert index.document(0) == empty
    assert index.document(1) == full
    assert (
        ClusteredIndex.from_matrix(SparseMatrix.from_rows([empty] * 9, 5)).search(full)[0].size == 0
    )
    nothing = ClusteredIndex.from_matrix(SparseMatrix.empty(5))
    assert nothing.search(full).rows.tolist() == []
    assert len(nothing.search_batch(SparseMatrix.from_rows([full], 5), 3)[0].rows) == 0


def test_wide_vocabulary_long_queries_and_extreme_weights(rng: np.random.Generator) -> None:
    size = 70_000
    rows = []
    for _ in range(40):
        terms = rng.choice(size, 60, replace=False)
        rows.append(SparseVector.from_arrays(terms, 10.0 ** rng.uniform(-3, 6, 60), size))
    rows[7] = SparseVector.from_arrays([69_999], [1e6], size)
    index = ClusteredIndex.from_matrix(SparseMatrix.from_rows(rows, size), n_threads=1)
    for n_terms in (1, 300, 2_500):
        terms = np.union1d(rng.choice(size, n_terms - 1, replace=False), [69_999])
        query = SparseVector.from_arrays(terms, rng.uniform(0.01, 5, len(terms)), size)
        assert found(index, query, 10, params=EXACT) == brute(index, query, 10)
        assert len(index.search(query, 10).rows) == len(brute(index, query, 10)[0])


def test_threads_give_the_results_of_one(rng: np.random.Generator) -> None:
    matrix, queries = random_matrix(rng, N, 300, 20), random_matrix(rng, 30, 300, 8)
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    alone = index.search_batch(queries, 7, n_threads=1)
    together = index.search_batch(queries, 7, n_threads=4)
    assert np.array_equal(alone.rows, together.rows)
    assert np.array_equal(alone.scores, together.scores)
    wrong: list[int] = []

    def hammer(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(30)
        for i in order.tolist():
            params = EXACT if seed % 2 else None
            result = index.search(queries.row(i), 7, params=params)
            if params is None and result.rows.tolist() != alone[i].rows.tolist():
                wrong.append(i)
            if params is not None and (result.rows.tolist(), result.scores.tolist()) != brutes[i]:
                wrong.append(i)

    brutes = [brute(index, query, 7) for query in queries]
    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_builds_do_not_depend_on_threads_and_survive_the_disk(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    matrix, query = random_matrix(rng, N, 300, 20), random_matrix(rng, 1, 300, 8).row(0)
    one = ClusteredIndex.from_matrix(matrix, n_threads=1)
    two = ClusteredIndex.from_matrix(matrix, n_threads=3)
    for name, array in one._parts.arrays().items():
        assert np.array_equal(array, two._parts.arrays()[name]), name
    manifest = Manifest.new("index", 1)
    with write_artifact(tmp_path / "index", manifest, overwrite=False) as writer:
        manifest.details.update(one.save_arrays(writer))
    path = tmp_path / "index"
    opened = ClusteredIndex.open(path, read_manifest(path, kind="index", format_version=1))
    assert found(opened, query, 10) == found(one, query, 10)
    assert found(opened, query, 10, params=EXACT) == brute(one, query, 10)
    assert sum(opened.bytes_by_part().values()) == sum(one.bytes_by_part().values())
    del manifest.details["wide_rows"]
    with pytest.raises(ArtifactFormatError, match="earlier release"):
        ClusteredIndex.open(path, manifest)
    for row in (0, N // 2, N - 1):
        document = opened.document(row)
        assert np.array_equal(document.terms, matrix.row(row).terms)
        np.testing.assert_allclose(document.weights, matrix.row(row).weights, rtol=1e-3)


def test_an_absence_has_its_reason(rng: np.random.Generator) -> None:
    matrix, queries = random_matrix(rng, N, 300, 20), random_matrix(rng, 20, 300, 8)
    index = ClusteredIndex.from_matrix(matrix, n_threads=1)
    hasty = ClusteredParams(query_mass=0.4, max_blocks=10)
    reasons = set()
    for query in queries:
        for row in index.search(query, 10, params=EXACT).rows.tolist():
            absence = why_not(index, query, row, 10, params=hasty)
            is_found = row in index.search(query, 10, params=hasty).rows
            assert (absence.reason == "found") == is_found
            assert "{" not in absence.message
            reasons.add(absence.reason)
    assert "found" in reasons
    if COMPILED:
        assert "block_not_visited" in reasons


def test_wrong_arguments_are_named(rng: np.random.Generator) -> None:
    index = ClusteredIndex.from_matrix(random_matrix(rng, 20, 40, 5), n_threads=1)
    query = SparseVector.from_arrays([1], [1.0], 40)
    with pytest.raises(VocabularyMismatchError):
        index.search(SparseVector.from_arrays([1], [1.0], 41))
    with pytest.raises(ArgumentError, match="ClusteredParams"):
        index.search(query, params={"exact": True})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="k must"):
        index.search(query, 0)
    with pytest.raises(ArgumentError, match="allowed"):
        index.search(query, allowed=np.zeros(2, np.uint64))
    with pytest.raises(ArgumentError, match="Row 20"):
        index.document(20)
