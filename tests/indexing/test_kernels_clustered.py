"""Clustered search is compiled once, whatever it is asked; its results are in test_clustered."""

from __future__ import annotations

import numpy as np
import pytest

from indexing import kernels_clustered, kernels_scoring
from indexing import reference_clustered as reference
from indexing.clustered import ClusteredIndex
from indexing.config_clustered import ClusteredLayout, ClusteredParams
from indexing.jit import COMPILED
from indexing.kernels_arrays import Documents
from lsr.core.sparse import SparseMatrix
from tests.helpers.strategies import random_matrix

SIZE = 30


def test_scores_are_those_of_the_twins(rng: np.random.Generator) -> None:
    index = ClusteredIndex.from_matrix(random_matrix(rng, 30, SIZE, 6), n_threads=1)
    documents = Documents(*index._parts.arguments()[0])
    coarse = rng.integers(0, 256, SIZE).astype(np.uint8)
    fine = rng.uniform(0, 2, SIZE).astype(np.float32)
    for position in range(30):
        mine = int(kernels_scoring.score_coarse(documents, coarse, position))
        assert mine == reference.score_coarse(documents, coarse, position)
        score = kernels_scoring.score_fine(documents, fine, position)
        assert np.float32(score) == reference.score_fine(documents, fine, position)


def test_one_signature_a_kernel(rng: np.random.Generator) -> None:
    if not COMPILED:
        pytest.skip("interpreted")
    query = random_matrix(rng, 1, SIZE, 4).row(0)
    for layout in (ClusteredLayout(), ClusteredLayout(wide_rows=16)):
        index = ClusteredIndex.from_matrix(random_matrix(rng, 50, SIZE, 6), layout, n_threads=1)
        index.search(query, 3)
        index.search(query, 3, params=ClusteredParams(exact=True))
        index.search_with_stats(query, 3)
        index.search_batch(SparseMatrix.from_rows([query], SIZE), 3)
    # Wide vocabularies are a second one: their terms take four bytes.
    signatures = kernels_clustered.clustered_search.signatures
    assert len([s for s in signatures if "uint32" not in str(s[0][0])]) == 1
