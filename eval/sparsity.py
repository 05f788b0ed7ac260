"""How sparse the vectors of an encoder are, and what scoring with them costs.

FLOPS is the expected number of multiplications that score one document for one query:
``FLOPS = Σ_j p_j^q · p_j^d``, where ``p_j`` is the share of queries (documents) with a weight at
term `j`.

References
----------
Paria et al., *Minimizing FLOPs to Learn Efficient Sparse Representations*, ICLR 2020, section 3;
Formal et al., *SPLADE*, SIGIR 2021, section 4 (the measure as reported).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import BaseModel, ConfigDict

from lsr.core.errors import DataError
from lsr.core.sparse import Int64Array, SparseMatrix

__all__ = ["Sparsity", "measure_sparsity"]


class Sparsity(BaseModel):
    """Terms with a weight, and FLOPS.

    Attributes
    ----------
    terms_per_document, terms_per_query : float
        Means over all rows, empty ones included.
    flops : float
        Expected multiplications a query–document pair.
    used_terms : int
        Vocabulary positions that at least one document uses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_documents: int
    n_queries: int
    terms_per_document: float
    terms_per_query: float
    flops: float
    used_terms: int
    vocabulary_size: int


def measure_sparsity(documents: Iterable[SparseMatrix], queries: SparseMatrix) -> Sparsity:
    """Return the sparsity of an encoded collection and its queries.

    Parameters
    ----------
    documents : iterable of SparseMatrix
        The collection in parts; read once, one part in memory at a time.
    queries : SparseMatrix
        Over the same vocabulary.

    Raises
    ------
    DataError
        If there is no document or no query, or the vocabulary sizes differ.
    """
    size = queries.size
    document_frequency: Int64Array = np.zeros(size, dtype=np.int64)
    n_documents = 0
    for part in documents:
        if part.size != size:
            raise DataError(f"Documents have {part.size} terms, queries {size}.")
        document_frequency += np.bincount(part.terms, minlength=size)
        n_documents += part.n_rows
    if n_documents == 0 or queries.n_rows == 0:
        raise DataError(
            f"{n_documents} documents and {queries.n_rows} queries: nothing to measure."
        )
    query_frequency = np.bincount(queries.terms, minlength=size)
    flops = float(np.dot(query_frequency / queries.n_rows, document_frequency / n_documents))
    return Sparsity(
        n_documents=n_documents,
        n_queries=queries.n_rows,
        terms_per_document=float(document_frequency.sum() / n_documents),
        terms_per_query=queries.nnz / queries.n_rows,
        flops=flops,
        used_terms=int((document_frequency > 0).sum()),
        vocabulary_size=size,
    )
