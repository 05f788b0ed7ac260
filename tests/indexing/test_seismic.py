"""The Seismic layout: what it must equal, what it may lose, and that threads change nothing."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import pruning
from indexing.build import build_index
from indexing.config import IndexConfig
from indexing.config_seismic import (
    CapPruning,
    GlobalThresholdPruning,
    SeismicLayout,
    SeismicParams,
)
from indexing.exact import ExactIndex
from indexing.filters import bitmap
from indexing.seismic import LIST_ARRAYS, SeismicIndex
from indexing.storage import IndexFolder
from lsr.core.artifact import write_artifact
from lsr.core.config import load_config
from lsr.core.errors import ArgumentError, ConfigError, VocabularyMismatchError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.data.vectors import open_vectors
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

# Interpreted, the random generator's 64-bit products warn where compiled ones wrap.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

SIZE = 20
WHOLE = SeismicLayout(
    pruning=CapPruning(n_postings=10**6), summary_energy=1.0, centroid_fraction=0.3
)
EVERYTHING = SeismicParams(query_cut=65_535, heap_factor=1.0)
EXACT = SeismicParams(exact=True)


def integral(matrix: SparseMatrix) -> SparseMatrix:
    """Return the matrix with weights 1 … 255, 255 among them: bytes and half floats are exact."""
    weights = np.clip(np.rint(matrix.weights * 4), 1, 255).astype(np.float32)
    if len(weights):
        weights[0] = 255
    return SparseMatrix(matrix.indptr, matrix.terms, weights, matrix.shape)


@settings(deadline=None, max_examples=25)
@given(sparse_matrices(SIZE, max_rows=60), sparse_vectors(SIZE), st.integers(1, 70))
def test_nothing_pruned_full_summaries_all_terms_is_exact_search(
    documents: SparseMatrix, query: SparseVector, k: int
) -> None:
    documents = integral(documents)
    if query.nnz:
        weights = np.clip(np.rint(query.weights * 4), 1, 255)
        query = SparseVector.from_arrays(query.terms, [*weights[:-1], 255], SIZE)
    index = SeismicIndex.from_matrix(documents, WHOLE, n_threads=1)
    expected = ExactIndex.from_matrix(documents, n_threads=1).search(query, k)
    for params in (EVERYTHING, EXACT):
        found = index.search(query, k, params=params)
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.scores.tolist() == expected.scores.tolist()


@settings(deadline=None, max_examples=25)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=60), st.floats(0.05, 1))
def test_a_full_summary_bounds_every_document_of_its_block(
    documents: SparseMatrix, fraction: float
) -> None:
    layout = WHOLE.model_copy(update={"centroid_fraction": fraction})
    index = SeismicIndex.from_matrix(documents, layout, n_threads=1)
    arrays, forward = index._arrays, index.forward
    seen = []
    for term in range(SIZE):
        n_blocks = int(arrays["blocks_of_list"][term + 1] - arrays["blocks_of_list"][term])
        summaries = np.zeros((n_blocks, SIZE), int)
        for c in range(*arrays["list_components"][term : term + 2].tolist()):
            ends = arrays["component_offsets"][c + term : c + term + 2].astype(int)
            here = slice(*(ends + arrays["entry_pointers"][term]).tolist())
            summaries[arrays["entry_blocks"][here], arrays["components"][c]] = arrays[
                "entry_weights"
            ][here]
        for block in range(n_blocks):
            at = int(arrays["blocks_of_list"][term]) + block
            for row in arrays["postings"][slice(*arrays["block_starts"][at : at + 2].tolist())]:
                its = slice(*forward.pointers[row : row + 2].tolist())
                assert (summaries[block, forward.terms[its]] >= forward.coarse[its]).all()
                seen.append((term, int(row)))
    # Nothing is pruned: every posting is in exactly one block of its list.
    rows = np.repeat(np.arange(documents.n_rows), np.diff(documents.indptr))
    assert sorted(seen) == sorted(zip(documents.terms.tolist(), rows.tolist(), strict=True))


def test_recall_on_a_seeded_collection(rng: np.random.Generator) -> None:
    documents, queries = random_matrix(rng, 3000, 400, 40), random_matrix(rng, 60, 400, 12)
    index = SeismicIndex.from_matrix(documents, n_threads=2)
    truth = index.search_batch(queries, 10, params=EXACT)

    def recall(**params: Any) -> float:
        found = index.search_batch(queries, 10, params=SeismicParams(**params))
        hits = [
            len(set(a) & set(b))
            for a, b in zip(found.rows.tolist(), truth.rows.tolist(), strict=True)
        ]
        return sum(hits) / truth.rows.size

    bound = 0.95
    value = recall(query_cut=12, heap_factor=0.7)
    assert value >= bound, f"recall@10 {value:.3f} < {bound}"
    assert recall(query_cut=2, heap_factor=1.0) < value


@settings(deadline=None, max_examples=25)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=50), sparse_vectors(SIZE), st.integers(1, 10))
def test_the_kth_score_never_falls_as_query_cut_grows(
    documents: SparseMatrix, query: SparseVector, k: int
) -> None:
    index = SeismicIndex.from_matrix(
        documents, SeismicLayout(pruning=CapPruning(n_postings=5)), n_threads=1
    )
    last = 0.0
    for query_cut in range(1, query.nnz + 1):
        # No block is left out and all candidates are scored in full: more lists, more candidates.
        params = SeismicParams(query_cut=query_cut, heap_factor=0, rescore_share=0)
        found = index.search(query, k, params=params)
        kth = float(found.scores[k - 1]) if len(found.scores) == k else 0.0
        assert kth >= last
        last = kth


def test_build_does_not_depend_on_threads_but_on_the_seed(rng: np.random.Generator) -> None:
    documents = random_matrix(rng, 400, 50, 12)
    layout = SeismicLayout(pruning=GlobalThresholdPruning(n_postings=60))

    def build(n_threads: int, seed: int) -> SeismicIndex:
        return SeismicIndex.from_matrix(documents, layout, seed=seed, n_threads=n_threads)

    one, four, other = build(1, 7), build(4, 7), build(1, 8)
    for name in LIST_ARRAYS:
        np.testing.assert_array_equal(one._arrays[name], four._arrays[name])
    assert not np.array_equal(one._arrays["postings"], other._arrays["postings"])


def test_pruning_rules(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small budget makes many ranges of terms, which must not show in the result.
    documents = random_matrix(rng, 300, 40, 10)
    dense = documents.to_scipy().toarray().astype(np.float16).astype(np.float32)

    def lists(rule: Any) -> list[set[int]]:
        index = SeismicIndex.from_matrix(documents, SeismicLayout(pruning=rule), n_threads=2)
        a = index._arrays
        ends = a["block_starts"][a["blocks_of_list"]]
        return [set(a["postings"][x:y].tolist()) for x, y in itertools.pairwise(ends)]

    capped = lists(CapPruning(n_postings=20))
    for term, kept in enumerate(capped):
        column = dense[:, term]
        order = np.lexsort((np.arange(300), -column))[: min(20, int((column > 0).sum()))]
        assert kept == set(order.tolist())

    rule = GlobalThresholdPruning(n_postings=30, max_fraction=2.0)
    threshold = np.sort(dense[dense > 0])[::-1][30 * 40 - 1]
    by_threshold = lists(rule)
    for term, kept in enumerate(by_threshold):
        column = np.where(dense[:, term] >= threshold, dense[:, term], 0)
        order = np.lexsort((np.arange(300), -column))[: min(60, int((column > 0).sum()))]
        assert kept == set(order.tolist())

    monkeypatch.setattr(pruning, "BUDGET", 150)
    monkeypatch.setattr(pruning, "_PART_ROWS", 37)
    assert lists(CapPruning(n_postings=20)) == capped
    assert lists(rule) == by_threshold


def test_filter_threads_batches_and_depths(rng: np.random.Generator) -> None:
    documents, queries = random_matrix(rng, 500, 60, 12), random_matrix(rng, 70, 60, 6)
    index = SeismicIndex.from_matrix(documents, n_threads=2)
    one = index.search_batch(queries, 10, n_threads=1)
    four = index.search_batch(queries, 10, n_threads=4)
    np.testing.assert_array_equal(one.rows, four.rows)
    np.testing.assert_array_equal(one.scores, four.scores)
    with ThreadPoolExecutor(8) as pool:
        hammered = list(pool.map(lambda q: index.search(q, 10), list(queries) * 5))
    for at, found in enumerate(hammered):
        np.testing.assert_array_equal(found.rows, one[at % 70].rows)
        np.testing.assert_array_equal(found.scores, one[at % 70].scores)
    for params in (SeismicParams(heap_factor=0, query_cut=60), EXACT):
        found = index.search(queries.row(0), 10_000, params=params)
        assert len(found.rows) == len(set(found.rows.tolist())) <= 500
        assert (np.diff(found.scores) <= 0).all()
        only = index.search(queries.row(0), 5, params=params, allowed=bitmap([3, 77, 200], 500))
        assert set(only.rows.tolist()) <= {3, 77, 200}


def test_neighbours_find_what_the_lists_lost(rng: np.random.Generator) -> None:
    documents, queries = random_matrix(rng, 800, 80, 14), random_matrix(rng, 40, 80, 6)
    layout = SeismicLayout(pruning=CapPruning(n_postings=30), n_neighbors=10)
    index = SeismicIndex.from_matrix(documents, layout, n_threads=2)
    neighbors = index._arrays["neighbors"]
    assert neighbors.shape == (800, 10)
    assert (neighbors != np.arange(800)[:, None]).all()
    truth = index.search_batch(queries, 10, params=EXACT).scores.sum()
    without = index.search_batch(queries, 10, params=SeismicParams(query_cut=3)).scores.sum()
    params = SeismicParams(query_cut=3, n_knn=10)
    assert without < index.search_batch(queries, 10, params=params).scores.sum() <= truth


def test_empty_things_and_one_document() -> None:
    query = SparseVector.from_mapping({1: 2.0}, SIZE)
    none = SeismicIndex.from_matrix(SparseMatrix.empty(SIZE))
    assert len(none.search(query).rows) == 0
    one = SeismicIndex.from_matrix(SparseMatrix.from_rows([query], SIZE))
    for params in (None, EXACT):
        assert one.search(query, 5, params=params).scores.tolist() == [4.0]
        assert len(one.search(SparseVector.from_mapping({}, SIZE), params=params).rows) == 0
    assert len(one.search(SparseVector.from_mapping({2: 1.0}, SIZE)).rows) == 0
    assert len(one.search_batch(SparseMatrix.empty(SIZE))) == 0
    empty_row = SparseVector.from_mapping({}, SIZE)
    gaps = SeismicIndex.from_matrix(SparseMatrix.from_rows([empty_row, query, empty_row], SIZE))
    assert gaps.search(query).rows.tolist() == [1]
    assert gaps.document(0) == empty_row
    assert gaps.document(1) == query


@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**100])
def test_weights_at_the_extremes_and_long_queries(rng: np.random.Generator, scale: float) -> None:
    documents = random_matrix(rng, 60, 2000, 300)
    documents = SparseMatrix(
        documents.indptr, documents.terms, documents.weights * np.float32(scale), documents.shape
    )
    query = random_matrix(rng, 1, 2000, 320).row(0)
    index = SeismicIndex.from_matrix(documents, WHOLE)
    found = index.search(query, 10, params=SeismicParams(query_cut=400, heap_factor=0))
    expected = ExactIndex.from_matrix(documents).search(query, 10)
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=2e-3)


def test_wide_vocabulary(rng: np.random.Generator) -> None:
    documents = random_matrix(rng, 100, 70_000, 12)
    index = SeismicIndex.from_matrix(documents, WHOLE)
    assert index.forward.terms.dtype == np.uint32
    query = documents.row(5)
    assert index.search(query, 3, params=EVERYTHING).rows[0] == 5


def test_wrong_arguments(rng: np.random.Generator) -> None:
    index = SeismicIndex.from_matrix(random_matrix(rng, 5, SIZE, 4))
    query = SparseVector.from_mapping({1: 1.0}, SIZE)
    with pytest.raises(VocabularyMismatchError):
        index.search(SparseVector.from_mapping({1: 1.0}, SIZE + 1))
    with pytest.raises(ArgumentError, match="takes SeismicParams"):
        index.search(query, params={"query_cut": 3})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="n_knn is 2, but the index stores 0"):
        index.search(query, params=SeismicParams(n_knn=2))
    with pytest.raises(ArgumentError, match="Row 5"):
        index.document(5)
    with pytest.raises(ArgumentError, match="k must be"):
        index.search(query, 0)
    with pytest.raises(ArgumentError, match="not 'seismic'"):
        SeismicIndex.build(None, None, IndexConfig())  # type: ignore[arg-type]


def test_configuration() -> None:
    config = load_config(IndexConfig, None, ["layout.kind=seismic", "layout.pruning.n_postings=9"])
    assert config.layout == SeismicLayout(pruning=GlobalThresholdPruning(n_postings=9))
    chosen = ["layout.kind=seismic", "layout.pruning.kind=cap"]
    assert load_config(IndexConfig, None, chosen).layout == SeismicLayout(pruning=CapPruning())
    with pytest.raises(ConfigError, match="max_fraction: unknown key"):
        load_config(IndexConfig, None, [*chosen, "layout.pruning.max_fraction=2"])
    with pytest.raises(ConfigError, match="summary_energy"):
        load_config(IndexConfig, None, [chosen[0], "layout.summary_energy=0"])


def test_folder_equals_memory(vectors: Path, tmp_path: Path) -> None:
    matrix = open_vectors(vectors).matrix()
    layout = SeismicLayout(n_neighbors=3)
    index = SeismicIndex.from_matrix(matrix, layout, seed=5)
    expected = index.search_batch(matrix, 7)
    build_index(vectors, tmp_path / "built", IndexConfig(layout=layout, seed=5)).close()
    with IndexFolder.open(tmp_path / "built") as folder:
        assert folder.verify() == []
        assert folder.manifest.details["n_postings"] == len(index._arrays["postings"])
        opened = folder.index
        assert isinstance(opened, SeismicIndex)
        for name in (*LIST_ARRAYS, "neighbors"):
            np.testing.assert_array_equal(opened._arrays[name], index._arrays[name])
        found = opened.search_batch(matrix, 7)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert opened.bytes_by_part() == index.bytes_by_part()
    manifest = Manifest.new("index", 1, details={"layout": "seismic"})
    with write_artifact(tmp_path / "saved", manifest, overwrite=False) as writer:
        manifest.details.update(index.save_arrays(writer))
    with IndexFolder.open(tmp_path / "saved") as folder:
        found = folder.index.search_batch(matrix, 7)
        np.testing.assert_array_equal(found.rows, expected.rows)
