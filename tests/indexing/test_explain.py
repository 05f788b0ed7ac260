from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.config_seismic import CapPruning, SeismicLayout, SeismicParams
from indexing.exact import ExactIndex
from indexing.explain import explain, why_not
from indexing.seismic import SeismicIndex
from lsr.core.errors import ArgumentError, VocabularyMismatchError
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from tests.helpers.strategies import random_matrix, sparse_matrices, sparse_vectors

SIZE = 15
VOCABULARY = Vocabulary(f"token{n}" for n in range(SIZE))


@given(sparse_matrices(SIZE, min_rows=1, max_rows=5), sparse_vectors(SIZE), st.data())
def test_sums_to_the_score(
    documents: SparseMatrix, query: SparseVector, data: st.DataObject
) -> None:
    index = ExactIndex.from_matrix(documents, n_threads=1)
    row = data.draw(st.integers(0, documents.n_rows - 1))
    found = dict(zip(*(x.tolist() for x in index.search(query, SIZE)), strict=True))
    explanation = explain(index, query, row, VOCABULARY)
    assert explanation.score == pytest.approx(found.get(row, 0.0))
    assert sum(x.contribution for x in explanation.terms) == pytest.approx(explanation.score)
    named = [x.term for x in (*explanation.terms, *explanation.missing)]
    assert sorted(named) == query.terms.tolist()


def test_lines_and_their_order() -> None:
    index = ExactIndex.from_matrix(
        SparseMatrix.from_rows([SparseVector.from_mapping({1: 0.5, 2: 4.0}, SIZE)], SIZE)
    )
    query = SparseVector.from_mapping({1: 2.0, 2: 1.0, 3: 1.0, 4: 3.0}, SIZE)
    explanation = explain(index, query, 0, VOCABULARY)
    assert explanation.row == 0
    assert explanation.score == 5.0
    assert [(x.token, x.query_weight, x.document_weight) for x in explanation.terms] == [
        ("token2", 1.0, 4.0),
        ("token1", 2.0, 0.5),
    ]
    assert [(x.token, x.contribution) for x in explanation.missing] == [
        ("token4", 0.0),
        ("token3", 0.0),
    ]


def spread(rng: np.random.Generator) -> tuple[SeismicIndex, SparseMatrix]:
    documents, queries = random_matrix(rng, 600, 80, 14), random_matrix(rng, 30, 80, 8)
    layout = SeismicLayout(pruning=CapPruning(n_postings=12))
    return SeismicIndex.from_matrix(documents, layout, n_threads=2), queries


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (SeismicParams(query_cut=1, heap_factor=0), "terms_cut"),
        (SeismicParams(query_cut=80, heap_factor=0), "postings_pruned"),
        (SeismicParams(query_cut=80, heap_factor=1.0), "block_not_visited"),
    ],
)
def test_why_a_document_was_not_found(
    rng: np.random.Generator, params: SeismicParams, reason: str
) -> None:
    index, queries = spread(rng)
    reasons = set()
    for query in queries:
        truth = index.search(query, 10, params=SeismicParams(exact=True))
        found = index.search(query, 10, params=params).rows.tolist()
        for row in truth.rows.tolist():
            absence = why_not(index, query, row, 10, params=params)
            reasons.add(absence.reason)
            assert (absence.reason == "found") == (row in found)
            if row in found:
                assert absence.rank == found.index(row) + 1
            else:
                assert absence.rank is None
                assert absence.score >= absence.kth_score * (1 - 1e-6)
                assert absence.message.startswith("Its score")
    assert {"found", reason} <= reasons
    if params.heap_factor == 0:
        assert "block_not_visited" not in reasons
    if params.query_cut == 80:
        assert "terms_cut" not in reasons


def test_documents_that_do_not_belong_into_the_result(rng: np.random.Generator) -> None:
    index, _ = spread(rng)
    query = SparseVector.from_mapping({0: 1.0}, 80)
    best = index.search(query, 1, params=SeismicParams(exact=True)).rows[0]
    holders = [row for row in range(600) if 0 in index.document(row).terms]
    others = [row for row in range(600) if row not in holders]
    assert why_not(index, query, int(best), 1).reason == "found"
    absence = why_not(index, query, next(r for r in holders if r != best), 1)
    assert absence.reason == "below_kth_score"
    assert "does not reach that of result 1" in absence.message
    assert why_not(index, query, others[0], 1).reason == "no_shared_term"
    exact = ExactIndex.from_matrix(index.forward.rows(0, 600))
    assert why_not(exact, query, others[0], 1).reason == "no_shared_term"


def test_wrong_arguments() -> None:
    index = ExactIndex.from_matrix(SparseMatrix.empty(SIZE))
    with pytest.raises(ArgumentError, match="Row 0 is outside"):
        explain(index, SparseVector.from_mapping({}, SIZE), 0, VOCABULARY)
    with pytest.raises(VocabularyMismatchError):
        explain(index, SparseVector.from_mapping({}, SIZE + 1), 0, VOCABULARY)
