"""The kernels of the Seismic layout against their numpy twins, stage by stage."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import (
    kernels_forward,
    kernels_seismic,
    kernels_seismic_build,
    reference_seismic,
)
from indexing.config_seismic import CapPruning, SeismicLayout, SeismicParams
from indexing.filters import NO_FILTER, bitmap
from indexing.forward import build_forward, in_memory
from indexing.jit import COMPILED, read_only
from indexing.kernels_seismic_estimates import N_BUCKETS
from indexing.seismic import LIST_ARRAYS, SeismicIndex
from indexing.source import MatrixSource
from lsr.core.sparse import SparseMatrix
from tests.helpers.strategies import random_matrix, sparse_matrices

# Interpreted, the random generator's 64-bit products warn where compiled ones wrap.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

SIZE = 12
EXAMPLES = 40 if COMPILED else 6


def equal(ours: Any, twin: Any) -> None:
    for left, right in zip(ours, twin, strict=True):
        np.testing.assert_array_equal(left, right)


@settings(deadline=None, max_examples=EXAMPLES)
@given(sparse_matrices(SIZE))
def test_order_rows(matrix: SparseMatrix) -> None:
    def run(module: ModuleType) -> Any:
        out = [np.zeros(matrix.nnz, dtype) for dtype in (np.uint16, np.uint8, np.uint16)]
        module.order_rows(
            read_only(matrix.indptr),
            read_only(matrix.terms.astype(np.uint16)),
            read_only((matrix.weights * 4).astype(np.uint8)),
            read_only(matrix.weights.astype(np.float16).view(np.uint16)),
            *out,
            np.empty(257, np.int64),
        )
        return out

    equal(run(kernels_forward), run(reference_seismic))


@settings(deadline=None, max_examples=EXAMPLES)
@given(sparse_matrices(SIZE, min_rows=1), st.data())
def test_pruning_kernels(matrix: SparseMatrix, data: st.DataObject) -> None:
    forward = build_forward(MatrixSource(matrix), in_memory, n_threads=1)
    first = data.draw(st.integers(0, matrix.n_rows))
    low, high = sorted(data.draw(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))))
    threshold = int(data.draw(st.sampled_from([1, *forward.fine.tolist()])))

    def run(module: ModuleType) -> Any:
        counts = np.zeros(SIZE, np.int64)
        module.count_postings(forward.terms, forward.fine, threshold, counts)
        cursor = np.cumsum(counts) - counts
        rows, fine = np.zeros(matrix.nnz, np.int32), np.zeros(matrix.nnz, np.uint16)
        module.scatter_postings(
            forward.pointers,
            forward.terms,
            forward.fine,
            first,
            matrix.n_rows,
            threshold,
            low,
            high,
            cursor,
            rows,
            fine,
        )
        return counts, cursor, rows, fine

    equal(run(kernels_seismic_build), run(reference_seismic))


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 70))
def test_cap_list(bits: list[int], cap: int) -> None:
    rows = np.arange(len(bits), dtype=np.int32) * 3
    fine = np.array(bits, np.uint16)

    def run(module: ModuleType) -> Any:
        out = np.zeros(min(len(bits), cap), np.int32)
        return module.cap_list(rows, fine, cap, out, np.empty(256, np.int64)), out

    equal(run(kernels_seismic_build), run(reference_seismic))


@settings(deadline=None, max_examples=EXAMPLES)
@given(sparse_matrices(SIZE, min_rows=1), st.data())
def test_cluster_and_summarise(matrix: SparseMatrix, data: st.DataObject) -> None:
    forward = build_forward(MatrixSource(matrix), in_memory, n_threads=1)
    arrays = (forward.pointers, forward.terms, forward.coarse)
    chosen = data.draw(st.sets(st.integers(0, matrix.n_rows - 1), min_size=1))
    rows = np.array(sorted(chosen), np.int32)
    n_centroids = data.draw(st.integers(1, len(rows)))
    min_cluster_size = data.draw(st.integers(1, 4))
    doc_cut = data.draw(st.integers(1, SIZE))
    energy = data.draw(st.sampled_from([0.2, 0.5, 0.8, 1.0]))
    seed = data.draw(st.integers(0, 2**63))
    room = matrix.nnz + 1

    def run(module: ModuleType) -> Any:
        slots = np.zeros(SIZE, np.int32)
        out_rows = np.zeros(len(rows) + 1, np.int32)
        starts = np.zeros(len(rows) + 1, np.int64)
        n_blocks = module.cluster_list(
            rows,
            n_centroids,
            min_cluster_size,
            doc_cut,
            np.array([seed], np.uint64),
            *arrays,
            slots,
            np.empty(len(rows), np.int32),
            np.empty(SIZE + 1, np.int64),
            np.empty(SIZE + 1, np.int64),
            np.empty(room, np.int32),
            np.empty(room, np.int32),
            np.empty(len(rows), np.int32),
            np.empty(len(rows), np.int32),
            np.empty(len(rows), np.int32),
            out_rows,
            starts,
        )
        starts[n_blocks] = len(rows)
        maxima, term_counts = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.int64)
        out = [
            np.zeros(n, dtype)
            for n, dtype in (
                (SIZE, np.uint16),
                (SIZE + 1, np.uint32),
                (room, np.uint16),
                (room, np.uint8),
            )
        ]
        numbers = module.summarise_list(
            out_rows,
            starts,
            n_blocks,
            energy,
            *arrays,
            maxima,
            np.empty(SIZE, np.int64),
            np.empty(256, np.int64),
            np.empty(room, np.int32),
            np.empty(room, np.uint8),
            np.empty(len(rows) + 1, np.int64),
            term_counts,
            *out,
        )
        assert not slots.any()
        assert not maxima.any()
        assert not term_counts.any()
        return [n_blocks, out_rows[: len(rows)], starts[: n_blocks + 1], *numbers, *out]

    equal(run(kernels_seismic_build), run(reference_seismic))


def searched(
    module: ModuleType, index: SeismicIndex, queries: SparseMatrix, k: int, **chosen: Any
) -> Any:
    params, forward = chosen["params"], index.forward
    n_terms, n_documents = index.vocabulary_size, index.n_documents
    nnz = int(np.diff(queries.indptr).max(initial=1))
    n_blocks = int(index._blocks_of[min(params.query_cut, n_terms)])
    rows = np.full((queries.n_rows, k), -1, np.int32)
    bits = np.zeros((queries.n_rows, k), np.int32)
    stats = np.zeros(4, np.int64)
    zeros = [np.zeros(n_terms, np.uint8), np.zeros(n_terms, np.float32)]
    visited = np.zeros(n_documents, np.uint8)
    module.seismic_search(
        *(index._arrays[name] for name in LIST_ARRAYS),
        forward.pointers,
        forward.terms,
        forward.coarse,
        forward.fine,
        index._arrays["neighbors"],
        read_only(queries.indptr),
        read_only(queries.terms),
        read_only(queries.weights),
        0,
        queries.n_rows,
        k,
        params.query_cut,
        params.heap_factor,
        params.rescore_share,
        params.n_knn,
        1 / forward.quantization.fine_scale,
        chosen["allowed"],
        *zeros,
        np.empty(nnz, np.int64),
        np.empty(n_blocks, np.int32),
        np.empty(n_blocks, np.int64),
        np.empty(n_blocks, np.int32),
        np.empty(N_BUCKETS + 1, np.int64),
        visited,
        np.empty(n_documents, np.int32),
        np.empty(n_documents, np.int32),
        np.empty(k, np.int32),
        np.empty(k, np.uint64),
        stats,
        rows,
        bits,
    )
    assert not zeros[0].any()
    assert not zeros[1].any()
    assert not visited.any()
    return rows, bits, stats


def layouts(data: st.DataObject) -> SeismicLayout:
    return SeismicLayout(
        pruning=CapPruning(n_postings=data.draw(st.sampled_from([3, 10, 1000]))),
        centroid_fraction=data.draw(st.sampled_from([0.1, 0.4, 1.0])),
        min_cluster_size=data.draw(st.integers(1, 3)),
        summary_energy=data.draw(st.sampled_from([0.3, 0.7, 1.0])),
    )


@settings(deadline=None, max_examples=EXAMPLES)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=60), sparse_matrices(SIZE, max_rows=4), st.data())
def test_seismic_search(
    documents: SparseMatrix, queries: SparseMatrix, data: st.DataObject
) -> None:
    index = SeismicIndex.from_matrix(documents, layouts(data), n_threads=1)
    rows = data.draw(st.none() | st.sets(st.integers(0, documents.n_rows - 1)))
    allowed = NO_FILTER
    if rows is not None:
        allowed = read_only(bitmap(sorted(rows), documents.n_rows))
    k = min(data.draw(st.integers(1, 12)), documents.n_rows)
    params = SeismicParams(
        query_cut=data.draw(st.integers(1, 12)),
        heap_factor=data.draw(st.sampled_from([0.0, 0.6, 0.9, 1.0])),
        rescore_share=data.draw(st.sampled_from([0.0, 0.9, 1.0])),
    )
    equal(
        searched(kernels_seismic, index, queries, k, params=params, allowed=allowed),
        searched(reference_seismic, index, queries, k, params=params, allowed=allowed),
    )


def test_seismic_search_with_neighbours(rng: np.random.Generator) -> None:
    documents, queries = random_matrix(rng, 200, 60, 12), random_matrix(rng, 15, 60, 6)
    layout = SeismicLayout(pruning=CapPruning(n_postings=8), n_neighbors=5)
    index = SeismicIndex.from_matrix(documents, layout, n_threads=2)
    for n_knn in (0, 2, 5):
        params = SeismicParams(query_cut=3, heap_factor=0.9, n_knn=n_knn)
        ours = searched(kernels_seismic, index, queries, 7, params=params, allowed=NO_FILTER)
        twin = searched(reference_seismic, index, queries, 7, params=params, allowed=NO_FILTER)
        equal(ours, twin)


@settings(deadline=None, max_examples=EXAMPLES)
@given(sparse_matrices(SIZE, min_rows=1), sparse_matrices(SIZE, min_rows=1, max_rows=1))
def test_forward_scores(documents: SparseMatrix, queries: SparseMatrix) -> None:
    forward = build_forward(MatrixSource(documents), in_memory, n_threads=1)
    k = min(5, documents.n_rows)

    def run(module: ModuleType) -> Any:
        rows, bits = np.full(k, -1, np.int32), np.zeros(k, np.int32)
        module.forward_scores(
            forward.pointers,
            forward.terms,
            forward.fine,
            read_only(queries.terms),
            read_only(queries.weights),
            1 / forward.quantization.fine_scale,
            k,
            NO_FILTER,
            np.zeros(SIZE, np.float32),
            np.empty(k, np.uint64),
            rows,
            bits,
        )
        return rows, bits

    equal(run(kernels_seismic), run(reference_seismic))


@pytest.mark.skipif(not COMPILED, reason="NUMBA_DISABLE_JIT is set")
@pytest.mark.parametrize("size", [40, 70_000])
def test_one_signature_a_kernel_and_term_width(rng: np.random.Generator, size: int) -> None:
    index = SeismicIndex.from_matrix(random_matrix(rng, 50, size, 9), n_threads=2)
    query = random_matrix(rng, 1, size, 9).row(0)
    index.search(query, 3)
    index.search(query, 3, params=SeismicParams(exact=True), allowed=bitmap([1], 50))
    for module in (kernels_forward, kernels_seismic, kernels_seismic_build):
        for name in module.__all__:
            kernel = getattr(module, name)
            flavours = {str(s).replace("uint32", "uint16") for s in kernel.signatures}
            # u16 and u32 terms; the latter's offsets are u32 in both.
            assert len(kernel.signatures) <= 2, f"{name}: {kernel.signatures}"
            assert len(flavours) == 1, f"{name}: {kernel.signatures}"
