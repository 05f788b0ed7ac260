"""Each kernel gives what its numpy twin gives, compiled once for one flavour of arguments."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import kernels, reference
from indexing.exact import ExactIndex
from indexing.filters import NO_FILTER, bitmap, rows_of
from indexing.jit import COMPILED, half_bits, half_to_float, jit, prefetch, read_only
from lsr.core.sparse import SparseMatrix, SparseVector
from tests.helpers.strategies import sparse_matrices, sparse_vectors

SIZE = 30


def transposed(module: ModuleType, matrix: SparseMatrix) -> tuple[Any, Any, Any]:
    pointers = np.full(matrix.size, -7, dtype=np.int64)
    rows = np.empty(matrix.nnz, dtype=np.uint16)
    weights = np.empty(matrix.nnz, dtype=np.float32)
    module.transpose_rows(
        read_only(matrix.indptr),
        read_only(matrix.terms),
        read_only(matrix.weights),
        11,
        pointers,
        rows,
        weights,
        np.empty(matrix.size, np.int64),
    )
    return pointers, rows, weights


@given(sparse_matrices(SIZE))
def test_transpose_rows(matrix: SparseMatrix) -> None:
    for ours, twin in zip(transposed(kernels, matrix), transposed(reference, matrix), strict=True):
        np.testing.assert_array_equal(ours, twin)


def searched(
    module: ModuleType, index: ExactIndex, queries: SparseMatrix, k: int, allowed: Any
) -> tuple[Any, Any]:
    accumulator = np.zeros(kernels.CHUNK_ROWS, np.float32)
    rows = np.full((queries.n_rows, k), -1, np.int32)
    bits = np.zeros((queries.n_rows, k), np.int32)
    module.exact_search(
        index._pointers,
        index._rows,
        index._weights,
        index.n_documents,
        index.vocabulary_size,
        read_only(queries.indptr),
        read_only(queries.terms),
        read_only(queries.weights),
        0,
        queries.n_rows,
        k,
        allowed,
        accumulator,
        accumulator.view(np.int32),
        np.empty(k, np.uint64),
        rows,
        bits,
    )
    assert not accumulator.any()
    return rows, bits.view(np.float32)


@settings(deadline=None)
@given(
    sparse_matrices(SIZE, min_rows=1, max_rows=70),
    sparse_matrices(SIZE, max_rows=4),
    st.integers(1, 12),
    st.data(),
)
def test_exact_search(
    documents: SparseMatrix, queries: SparseMatrix, k: int, data: st.DataObject
) -> None:
    index = ExactIndex.from_matrix(documents, n_threads=1)
    chosen = data.draw(st.none() | st.sets(st.integers(0, documents.n_rows - 1)))
    allowed = NO_FILTER
    if chosen is not None:
        allowed = read_only(bitmap(sorted(chosen), documents.n_rows))
    for ours, twin in zip(
        searched(kernels, index, queries, k, allowed),
        searched(reference, index, queries, k, allowed),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, twin)


def test_scores_are_bit_equal_to_the_twin(rng: np.random.Generator) -> None:
    # Weights that are no round numbers: sums depend on the order, which both must share.
    dense = rng.lognormal(size=(200, SIZE)) * (rng.random((200, SIZE)) < 0.5)
    index = ExactIndex.from_matrix(SparseMatrix.from_scipy(dense), n_threads=1)
    queries = SparseMatrix.from_scipy(rng.lognormal(size=(5, SIZE)))
    ours = searched(kernels, index, queries, 200, NO_FILTER)
    twin = searched(reference, index, queries, 200, NO_FILTER)
    np.testing.assert_array_equal(ours[0], twin[0])
    np.testing.assert_array_equal(ours[1].view(np.int32), twin[1].view(np.int32))


@given(sparse_matrices(SIZE, min_rows=1, max_rows=6))
def test_document_terms(matrix: SparseMatrix) -> None:
    index = ExactIndex.from_matrix(matrix, n_threads=1)
    for row in range(matrix.n_rows):
        for module in (kernels, reference):
            terms, weights = np.empty(SIZE, np.int32), np.empty(SIZE, np.float32)
            n = module.document_terms(
                index._pointers, index._rows, index._weights, SIZE, row, terms, weights
            )
            assert SparseVector(terms[:n], weights[:n], SIZE) == matrix.row(row)


@given(
    st.lists(st.integers(1, 2**63 - 1), unique=True, min_size=1, max_size=60), st.integers(1, 20)
)
def test_heap_keeps_the_greatest_keys(keys: list[int], k: int) -> None:
    heap, size = np.zeros(k, np.uint64), 0
    for key in keys:
        if size < k or np.uint64(key) > heap[0]:
            size = kernels.heap_insert(heap, size, k, np.uint64(key))
    expected = sorted(keys, reverse=True)[:k]
    rows, bits = np.zeros(size, np.int32), np.zeros(size, np.int32)
    kernels.heap_drain(heap, size, rows, bits)
    assert heap[:size].tolist() == expected
    assert bits.tolist() == [np.int32(key >> 32) for key in expected]
    assert (rows.astype(np.int64) & 0xFFFFFFFF).tolist() == [
        0xFFFFFFFF - (key & 0xFFFFFFFF) for key in expected
    ]


@pytest.mark.skipif(not COMPILED, reason="NUMBA_DISABLE_JIT is set")
def test_one_signature_a_kernel(rng: np.random.Generator) -> None:
    documents = SparseMatrix.from_scipy(rng.random((10, SIZE)))
    index = ExactIndex.from_matrix(documents)
    index.search(documents.row(3), 4)
    index.search(documents.row(3), 4, allowed=bitmap([1], 10))
    frozen = SparseVector(
        read_only(documents.row(2).terms), read_only(documents.row(2).weights), SIZE
    )
    index.search(frozen, 2)
    index.search_batch(documents, 400, n_threads=2)
    index.document(np.int32(4))  # type: ignore[arg-type]
    index.score_rows(documents.row(3), np.array([1, 4]))
    kernels.score_vectors(
        *(read_only(a) for a in (documents.indptr, documents.terms, documents.weights)),
        read_only(np.ones(SIZE, np.float32)),
        np.empty(10, np.float32),
    )
    kernels.log_sum(read_only(np.zeros(2, np.uint32)), 1, 2)
    rows_of(bitmap([1], 10), 10)
    for name in kernels.__all__:
        kernel = getattr(kernels, name)
        if hasattr(kernel, "signatures"):
            assert len(kernel.signatures) == 1, f"{name}: {kernel.signatures}"


def test_half_floats_round_trip() -> None:
    values = np.array([0.0, 1.5, 2**-24, 65504.0, 0.1], np.float32)

    @jit
    def second(bits):  # type: ignore[no-untyped-def]
        prefetch(bits, np.uint64(0))
        return half_to_float(bits[4])

    assert second(half_bits(values)) == np.float32(np.float16(0.1))


@given(sparse_vectors(SIZE))
def test_read_only_views_do_not_copy(vector: SparseVector) -> None:
    view = read_only(vector.terms)
    assert not view.flags.writeable
    assert view.size == 0 or np.shares_memory(view, vector.terms)
    assert vector.terms.flags.writeable


@settings(deadline=None)
@given(sparse_matrices(SIZE, min_rows=1, max_rows=70), sparse_vectors(SIZE), st.data())
def test_score_rows(matrix: SparseMatrix, query: SparseVector, data: st.DataObject) -> None:
    wanted = sorted(data.draw(st.sets(st.integers(0, matrix.n_rows - 1))))
    index = ExactIndex.from_matrix(matrix)
    rows = read_only(np.array(wanted, dtype=np.int64))
    expected = np.empty(len(wanted), np.float32)
    reference.score_rows(
        index._pointers,
        index._rows,
        index._weights,
        matrix.size,
        query.terms,
        query.weights,
        rows,
        expected,
    )
    scores = index.score_rows(query, rows)
    assert scores.tobytes() == expected.tobytes()
    found = index.search(query, matrix.n_rows) if matrix.n_rows else None
    assert found is not None
    searched_scores = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
    assert scores.tolist() == [searched_scores.get(row, 0.0) for row in wanted]
    postings = sum(int((matrix.terms == term).sum()) for term in query.terms.tolist())
    assert index.n_postings(query) == postings


def test_score_rows_over_chunks() -> None:
    step = 1000
    n_rows = 2 * kernels.CHUNK_ROWS + 10
    terms = np.zeros(n_rows, np.int32)
    weights = (np.arange(n_rows) % 7 + 1).astype(np.float32)
    matrix = SparseMatrix(np.arange(n_rows + 1, dtype=np.int64), terms, weights, (n_rows, 2))
    rows = np.arange(0, n_rows, step, dtype=np.int64)
    query = SparseVector.from_mapping({0: 2.0, 1: 1.0}, 2)
    assert (ExactIndex.from_matrix(matrix).score_rows(query, rows) == 2 * weights[rows]).all()


@given(sparse_matrices(SIZE), sparse_vectors(SIZE))
def test_score_vectors(matrix: SparseMatrix, query: SparseVector) -> None:
    dense = np.zeros(SIZE, np.float32)
    dense[query.terms] = query.weights
    made = []
    for module in (kernels, reference):
        scores = np.empty(matrix.n_rows, np.float32)
        module.score_vectors(
            read_only(matrix.indptr),
            read_only(matrix.terms),
            read_only(matrix.weights),
            read_only(dense),
            scores,
        )
        made.append(scores.tobytes())
    assert made[0] == made[1]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.integers(0, 2**32 - 1))
def test_log_sum(words: list[int], start: int) -> None:
    even = read_only(np.array(words[: len(words) // 2 * 2], dtype=np.uint32))
    assert int(kernels.log_sum(even, start, 5)) == reference.log_sum(even, start, 5)


@given(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=9))
def test_set_rows(words: list[int]) -> None:
    bits = read_only(np.array(words, dtype=np.uint64))
    made = []
    for module in (kernels, reference):
        rows = np.full(64 * len(words), -1, np.int64)
        made.append((int(module.set_rows(bits, rows)), rows.tolist()))
    assert made[0] == made[1]
