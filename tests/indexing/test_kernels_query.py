"""A query's terms, cut and scaled."""

from __future__ import annotations

import numpy as np

from indexing import kernels_query
from indexing import reference_clustered as reference
from indexing.jit import read_only
from indexing.kernels_arrays import Query


def test_cut_terms_cover_the_mass(rng: np.random.Generator) -> None:
    for n in (1, 2, 40, 3_000):
        weights = read_only(rng.uniform(0.01, 3, n).astype(np.float32))
        for mass in (0.1, 0.5, 0.9, 1.0):
            limit = kernels_query.MAX_TERMS
            threshold = kernels_query.term_threshold(weights, mass, limit)
            kept = weights >= threshold
            assert kept.sum() <= limit + 1 or n <= limit
            if n <= limit:
                assert weights[kept].sum() >= mass * weights.sum() * (1 - 1e-5)


def test_tables_and_largest_scores_are_those_of_the_twins(rng: np.random.Generator) -> None:
    for unit in (0.0, 0.3, 1.0, 7.7, 30.0):
        tables = [np.full(48, 9, np.uint8) for _ in range(2)]
        kernels_query.fill_table(unit, tables[0], np.uint64(16))
        reference.fill_table(unit, tables[1], 16)
        assert tables[0].tolist() == tables[1].tolist()
        assert (np.diff(tables[0][16:32].astype(int)) >= 0).all()
    terms = np.arange(0, 3_000, dtype=np.int32)
    query = Query(read_only(terms), read_only(rng.uniform(0.1, 2, 3_000).astype(np.float32)))
    term_max = read_only(rng.uniform(0, 3, 3_000).astype(np.float32))
    for threshold in (np.float32(0), np.float32(1)):
        expected = reference.largest_score(query, float(threshold), term_max)
        assert np.isclose(float(kernels_query.largest_score(query, threshold, term_max)), expected)
    beyond = Query(terms[kernels_query.MAX_TERMS :], query.weights[kernels_query.MAX_TERMS :])
    left = float(kernels_query.left_out(query, term_max))
    assert np.isclose(left, reference.largest_score(beyond, 0, term_max))


def test_a_query_is_set_and_cleared(rng: np.random.Generator) -> None:
    coarse, fine = np.zeros(50, np.uint8), np.zeros(50, np.float32)
    terms = read_only(np.array([3, 7, 49], np.int32))
    query = Query(terms, read_only(np.array([0.5, 2.0, 1.0], np.float32)))
    scale = float(kernels_query.set_query(query, coarse, fine))
    assert scale == 255 / 2
    assert coarse[terms].tolist() == [64, 255, 128]
    assert fine[terms].tolist() == [0.5, 2.0, 1.0]
    kernels_query.clear_query(query, coarse, fine)
    assert not coarse.any()
    assert not fine.any()
    nothing = Query(terms, read_only(np.zeros(3, np.float32)))
    assert float(kernels_query.set_query(nothing, coarse, fine)) == 0
