"""Tuning a live collection: measured at one generation, kept, and refused when it has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexing import tuning
from indexing.collection import Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_copies import restore, snapshot
from indexing.collection_tuning import (
    collection_params_for,
    collection_tuning,
    tune_collection,
)
from indexing.config_seismic import SeismicParams
from indexing.tuning import TuningOptions
from lsr.core.config import load_config
from lsr.core.errors import ArgumentError
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from tests.helpers.strategies import random_matrix

N_TERMS = 60


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"query_cut": (1, 3, 30), "heap_factor": (0.0, 1.0)}
    monkeypatch.setitem(tuning.GRIDS, "seismic", small)


@pytest.fixture
def collection(tmp_path: Path, rng: np.random.Generator) -> Iterator[Collection]:
    values = {"index": {"layout": {"kind": "seismic"}}, "exact_below": 50, "seal_at": 200}
    config = load_config(CollectionConfig, values=values)
    vocabulary = Vocabulary(map(str, range(N_TERMS)))
    named = {"encoder": "none", "idf": "none"}
    with Collection.create(
        tmp_path / "live", vocabulary, config=config, background=False, **named
    ) as made:
        add(made, rng, 450)
        yield made


def add(collection: Collection, rng: np.random.Generator, n: int) -> None:
    first = collection.n_documents
    documents = [Document(f"d{first + at}", "") for at in range(n)]
    collection.upsert(documents, random_matrix(rng, n, N_TERMS, 12))


@pytest.fixture
def queries(rng: np.random.Generator) -> SparseMatrix:
    return random_matrix(rng, 40, N_TERMS, 6)


def test_what_is_stored_was_measured_on_held_out_queries(
    collection: Collection, queries: SparseMatrix
) -> None:
    told: list[tuple[int, int]] = []
    options = TuningOptions(recall=0.9, seed=3, on_setting=lambda *at: told.append(at))
    made = tune_collection(collection, queries, options)
    assert told == [(at, 6) for at in range(6)]
    point = made.for_recall(0.9)
    params = SeismicParams(**point.params)
    assert collection_params_for(collection, 0.9) == params
    assert point.n_documents == 450
    shares = []
    for query in queries.take(np.random.default_rng(3).permutation(40)[20:]):
        exact = collection.search(query, 10, params=SeismicParams(exact=True))
        found = collection.search(query, 10, params=params)
        last = exact.scores[-1] if len(exact) else 0
        if len(exact):
            shares.append(min((found.scores >= last).sum(), len(exact)) / len(exact))
    assert point.recall == pytest.approx(float(np.mean(shares)))
    assert point.recall >= 0.9


def test_a_collection_that_was_never_tuned(collection: Collection) -> None:
    assert collection_tuning(collection) is None
    with pytest.raises(ArgumentError, match="not tuned"):
        collection_params_for(collection, 0.9)


def test_a_collection_that_has_changed_since(
    collection: Collection, queries: SparseMatrix, rng: np.random.Generator
) -> None:
    tune_collection(collection, queries, TuningOptions(recall=0.9))
    add(collection, rng, 400)
    assert collection_params_for(collection, 0.9)
    add(collection, rng, 100)
    with pytest.raises(ArgumentError, match="with 450 documents and has 950 now"):
        collection_params_for(collection, 0.9)
    tune_collection(collection, queries, TuningOptions(recall=0.9))
    assert collection_params_for(collection, 0.9)
    collection.delete([f"d{at}" for at in range(600)])
    with pytest.raises(ArgumentError, match="has 350 now"):
        collection_params_for(collection, 0.9)


def test_what_was_measured_goes_with_a_snapshot(
    collection: Collection, queries: SparseMatrix, tmp_path: Path
) -> None:
    made = tune_collection(collection, queries, TuningOptions(recall=0.9))
    snapshot(collection.path, tmp_path / "copy")
    with restore(tmp_path / "copy", tmp_path / "again") as again:
        assert collection_tuning(again) == made


def test_a_tuning_that_is_stopped(collection: Collection, queries: SparseMatrix) -> None:
    def stop(at: int, of: int) -> None:
        if at == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        tune_collection(collection, queries, TuningOptions(recall=0.9, on_setting=stop))
    assert collection_tuning(collection) is None
