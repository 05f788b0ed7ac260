"""Tuning: held-out figures, what is stored, what cannot be reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexing import tuning
from indexing.base import BatchResult
from indexing.build import build_index
from indexing.clustered import ClusteredIndex
from indexing.config import IndexConfig
from indexing.config_clustered import ClusteredLayout, ClusteredParams
from indexing.config_seismic import CapPruning, SeismicLayout, SeismicParams
from indexing.exact import ExactIndex
from indexing.recall import recall_of
from indexing.seismic import SeismicIndex
from indexing.storage import IndexFolder
from indexing.tuning import (
    TUNING_NAME,
    TuningOptions,
    load_queries,
    load_tuning,
    save_tuning,
    tune,
)
from indexing.tuning_plot import plot_tuning
from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    CheckFailedError,
    VocabularyMismatchError,
)
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.vectors import write_vectors
from tests.helpers.strategies import random_matrix

SMALL = {"query_cut": (1, 3, 30), "heap_factor": (0.0, 1.0)}


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tuning.GRIDS, "seismic", SMALL)


@pytest.fixture
def index(rng: np.random.Generator) -> SeismicIndex:
    return SeismicIndex.from_matrix(random_matrix(rng, 500, 60, 12), n_threads=2)


@pytest.fixture
def queries(rng: np.random.Generator) -> SparseMatrix:
    return random_matrix(rng, 40, 60, 6)


def result(rows: list[list[int]], scores: list[list[float]]) -> BatchResult:
    return BatchResult(np.array(rows, np.int32), np.array(scores, np.float32))


def test_recall_is_fair_to_ties() -> None:
    exact = result([[5, 2, 9], [1, -1, -1], [-1, -1, -1]], [[3, 2, 2], [1, 0, 0], [0, 0, 0]])
    found = result([[5, 9, 7], [-1, -1, -1], [-1, -1, -1]], [[3, 2, 2], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(recall_of(found, exact), [1.0, 0.0, np.nan])
    worse = result([[5, 9, 8], [1, -1, -1], [-1, -1, -1]], [[3, 2, 1.5], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(recall_of(worse, exact), [2 / 3, 1.0, np.nan])


def test_stored_recall_is_that_of_the_held_out_queries(
    index: SeismicIndex, queries: SparseMatrix
) -> None:
    tuned = tune(index, queries, TuningOptions(recall=0.9, seed=3))
    point = tuned.for_recall(0.9)
    held_out = queries.take(np.random.default_rng(3).permutation(40)[20:])
    exact = index.search_batch(held_out, 10, params=SeismicParams(exact=True))
    found = index.search_batch(held_out, 10, params=SeismicParams(**point.params))
    assert point.recall == pytest.approx(float(np.nanmean(recall_of(found, exact))))
    assert point.recall >= 0.9
    assert tuned.n_queries == tuned.n_held_out == 20
    assert 0 < point.p50_us <= point.p99_us
    recalls = [p.recall for p in tuned.curve]
    assert recalls == sorted(set(recalls))
    assert [p.mean_us for p in tuned.curve] == sorted(p.mean_us for p in tuned.curve)


def test_the_clustered_grid_covers_what_the_index_has(
    rng: np.random.Generator, queries: SparseMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("clustered", "clustered, wide"):
        # Every name of the grid is a parameter, and two values of each are tried.
        small = {name: values[-2:] for name, values in tuning.GRIDS[kind].items()}
        assert set(small) < set(ClusteredParams.model_fields)
        monkeypatch.setitem(tuning.GRIDS, kind, small)
    matrix = random_matrix(rng, 500, 60, 12)
    for wide_rows in (0, 16):
        index = ClusteredIndex.from_matrix(
            matrix, ClusteredLayout(wide_rows=wide_rows), n_threads=2
        )
        tuned = tune(index, queries, TuningOptions(recall=0.9))
        tried = {point.params["max_wide_blocks"] for point in tuned.curve}
        default = ClusteredParams().max_wide_blocks
        assert (tried != {default}) == bool(wide_rows)
        assert tuned.for_recall(0.9).recall >= 0.9


def test_what_cannot_be_reached(index: SeismicIndex, queries: SparseMatrix) -> None:
    with pytest.raises(CheckFailedError, match=r"recall 0.9 and p99 1e-06 ms on held-out"):
        tune(index, queries, TuningOptions(recall=0.9, p99_ms=1e-6))
    pruned = SeismicIndex.from_matrix(
        index.forward.rows(0, 500), SeismicLayout(pruning=CapPruning(n_postings=2)), n_threads=1
    )
    with pytest.raises(CheckFailedError, match="the best has recall 0"):
        tune(pruned, queries, TuningOptions(recall=0.999))


def test_wrong_arguments(index: SeismicIndex, queries: SparseMatrix) -> None:
    with pytest.raises(ArgumentError, match="recall must be above 0"):
        TuningOptions(recall=1.5)
    with pytest.raises(ArgumentError, match="k must be"):
        TuningOptions(recall=0.9, k=0)
    with pytest.raises(ArgumentError, match="at least 20 queries, got 3"):
        tune(index, queries.rows(0, 3), TuningOptions(recall=0.9))
    with pytest.raises(ArgumentError, match="layout 'exact' has nothing to tune"):
        tune(ExactIndex.from_matrix(queries), queries, TuningOptions(recall=0.9))


@pytest.fixture
def folder(vectors: Path, tmp_path: Path) -> IndexFolder:
    config = IndexConfig(layout=SeismicLayout())
    return build_index(vectors, tmp_path / "index", config)


def test_search_for_a_target_recall(
    folder: IndexFolder, queries: SparseMatrix, rng: np.random.Generator
) -> None:
    queries = random_matrix(rng, 40, 40, 5)
    query = queries.row(0)
    with pytest.raises(ArgumentError, match="is not tuned"):
        folder.search(query, target_recall=0.8)
    save_tuning(folder.path, tune(folder.index, queries, TuningOptions(recall=0.8)))
    both = save_tuning(folder.path, tune(folder.index, queries, TuningOptions(recall=0.95)))
    assert set(both.targets) == {"0.8", "0.95"}
    params = folder.params_for(0.9)
    assert params == SeismicParams(**both.targets["0.95"].params)
    expected = folder.index.search(query, 10, params=params)
    found = folder.search(query, 10, target_recall=0.9)
    np.testing.assert_array_equal(found.rows, expected.rows)
    with pytest.raises(ArgumentError, match=r"not tuned for a recall of 0.99 \(tuned: 0.8, 0.95\)"):
        folder.search(query, target_recall=0.99)
    with pytest.raises(ArgumentError, match="not both"):
        folder.search(query, target_recall=0.8, params=params)
    assert folder.verify() == []
    assert IndexFolder.open(folder.path).tuning == both


def test_a_tuning_that_cannot_be_read(folder: IndexFolder) -> None:
    assert load_tuning(folder.path, layout="seismic") is None
    (folder.path / TUNING_NAME).write_text("{}")
    with pytest.raises(ArtifactCorruptedError, match="no tuning this release reads"):
        load_tuning(folder.path, layout="seismic")


def test_tuning_of_another_layout(
    folder: IndexFolder, index: SeismicIndex, queries: SparseMatrix
) -> None:
    tuned = tune(index, queries, TuningOptions(recall=0.5)).model_copy(update={"layout": "other"})
    (folder.path / TUNING_NAME).write_text(tuned.model_dump_json())
    with pytest.raises(ArtifactCorruptedError, match="layout 'other'"):
        load_tuning(folder.path, layout="seismic")


def test_query_vectors_of_another_vocabulary(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "b"])
    matrix = SparseMatrix.from_rows([SparseVector.from_mapping({0: 1.0}, 2)], 2)
    write_vectors(tmp_path / "q", [(matrix, ["1"])], vocabulary, encoder="x", idf="none")
    assert load_queries(tmp_path / "q", vocabulary.fingerprint) == matrix
    with pytest.raises(VocabularyMismatchError, match="query set"):
        load_queries(tmp_path / "q", "0" * 64)


def test_plot(index: SeismicIndex, queries: SparseMatrix, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    tuned = tune(index, queries, TuningOptions(recall=0.5))
    plot_tuning(tuned, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ArgumentError, match=r"Cannot draw a \.xyz file"):
        plot_tuning(tuned, tmp_path / "curve.xyz")
