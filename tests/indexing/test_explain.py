from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.exact import ExactIndex
from indexing.explain import explain
from lsr.core.errors import ArgumentError, VocabularyMismatchError
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from tests.helpers.strategies import sparse_matrices, sparse_vectors

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


def test_wrong_arguments() -> None:
    index = ExactIndex.from_matrix(SparseMatrix.empty(SIZE))
    with pytest.raises(ArgumentError, match="Row 0 is outside"):
        explain(index, SparseVector.from_mapping({}, SIZE), 0, VOCABULARY)
    with pytest.raises(VocabularyMismatchError):
        explain(index, SparseVector.from_mapping({}, SIZE + 1), 0, VOCABULARY)
