from __future__ import annotations

import numpy as np
import pytest

from eval.sparsity import measure_sparsity
from lsr.core.errors import DataError
from lsr.core.sparse import SparseMatrix, SparseVector


def _matrix(rows: list[dict[int, float]], size: int = 4) -> SparseMatrix:
    return SparseMatrix.from_rows([SparseVector.from_mapping(r, size) for r in rows], size)


def test_flops_is_the_expected_number_of_products() -> None:
    documents = [_matrix([{0: 1.0, 1: 1.0}, {1: 2.0}]), _matrix([{}, {1: 1.0, 3: 1.0}])]
    queries = _matrix([{1: 1.0}, {0: 1.0, 1: 1.0}])
    found = measure_sparsity(documents, queries)
    pairs = [
        len(np.intersect1d(d.terms, q.terms)) for part in documents for d in part for q in queries
    ]
    assert found.flops == pytest.approx(np.mean(pairs))
    assert found.terms_per_document == 5 / 4
    assert found.terms_per_query == 3 / 2
    assert found.used_terms == 3
    assert (found.n_documents, found.n_queries) == (4, 2)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to measure"):
        measure_sparsity([], _matrix([{0: 1.0}]))
    with pytest.raises(DataError, match="5 terms, queries 4"):
        measure_sparsity([_matrix([{0: 1.0}], 5)], _matrix([{0: 1.0}]))
