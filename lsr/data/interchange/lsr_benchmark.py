"""The embeddings layout of lsr-benchmark: ``doc/doc-embeddings.npz`` and ``doc/doc-ids.txt``.

The archive holds the arrays of a CSR matrix (``data``, ``indices``, ``indptr``); queries are
``query/query-embeddings.npz`` and ``query/query-ids.txt`` alike. Tokens are their numbers there;
the vocabulary goes beside it as ``doc-vocabulary.json``, which lsr-benchmark does not look at.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.errors import ArgumentError, DataError
from lsr.core.files import create_bytes, create_text
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines, read_lines
from lsr.data.fields import parse_id
from lsr.data.vectors import VectorCollection

__all__ = ["read_lsr_benchmark", "write_lsr_benchmark"]

_SUFFIX = "-embeddings.npz"
# RuntimeError is what zipfile raises for encrypted members, NotImplementedError among them.
_BROKEN_ZIP = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def _beside(path: Path, suffix: str) -> Path:
    if not path.name.endswith(_SUFFIX):
        raise ArgumentError(
            f"A file of lsr-benchmark is called doc{_SUFFIX} or query{_SUFFIX}, not {path.name}."
        )
    return path.with_name(path.name.removesuffix(_SUFFIX) + suffix)


def write_lsr_benchmark(collection: VectorCollection, path: Path) -> int:
    """Write a collection, its ids and its vocabulary; return the number of weights.

    Parameters
    ----------
    collection : VectorCollection
        What is written; it is held in memory.
    path : Path
        ``…/doc/doc-embeddings.npz`` or ``…/query/query-embeddings.npz``.

    Raises
    ------
    ArgumentError
        If the file is not called so.
    StorageError
        If the disk is full or refuses.
    """
    ids = _beside(path, "-ids.txt")
    matrix = collection.matrix()
    with create_bytes(path) as sink:
        np.savez_compressed(sink, data=matrix.weights, indices=matrix.terms, indptr=matrix.indptr)
    with create_text(ids) as stream:
        stream.writelines(f"{parse_id(i, 'The id')}\n" for i in collection.doc_ids())
    collection.vocabulary.save(_beside(path, "-vocabulary.json"))
    return collection.nnz


def read_lsr_benchmark(
    path: Path, vocabulary: Vocabulary | None = None
) -> tuple[Vocabulary, Iterator[tuple[SparseMatrix, Sequence[str]]]]:
    """Return the vocabulary and the vectors with their ids, as `write_vectors` takes them.

    Parameters
    ----------
    path : Path
        ``…/doc/doc-embeddings.npz`` or ``…/query/query-embeddings.npz``.
    vocabulary : Vocabulary, optional
        Default: what stands beside the file, else the numbers up to the largest that is used.

    Raises
    ------
    DataError
        If a file is missing, damaged, or the parts do not fit each other.
    WeightError
        If a weight is negative, infinite or NaN.
    """
    arrays = _load(path)
    ids_path = _beside(path, "-ids.txt")
    ids = [line for _, line in read_lines(ids_path, BadLines())]
    indptr, weights = arrays["indptr"].astype(np.int64), arrays["data"]
    if len(indptr) != len(ids) + 1:
        raise DataError(f"{ids_path} has {len(ids)} ids, the matrix {len(indptr) - 1} rows.")
    if indptr[0] != 0 or indptr[-1] != len(weights) or (np.diff(indptr) < 0).any():
        raise DataError(f"{path} is damaged: its row pointers do not ascend to its weights.")
    try:
        terms = arrays["indices"].astype(np.int64)
    except ValueError as error:
        raise DataError(f"{path} names a token by something else than a number.") from error
    if len(terms) != len(weights) or (len(terms) and terms.min() < 0):
        raise DataError(f"{path} is damaged: its indices do not fit its weights.")
    vocabulary_file = _beside(path, "-vocabulary.json")
    if vocabulary is None and vocabulary_file.is_file():
        vocabulary = Vocabulary.load(vocabulary_file)
    if vocabulary is None:
        vocabulary = Vocabulary(str(term) for term in range(int(terms.max(initial=-1)) + 1))
    if len(terms) and int(terms.max()) >= len(vocabulary):
        raise DataError(
            f"{path} names token {int(terms.max())}, the vocabulary has {len(vocabulary)}."
        )
    from scipy.sparse import csr_array

    rows = csr_array((weights, terms, indptr), shape=(len(ids), len(vocabulary)))
    rows.sort_indices()
    if not rows.has_canonical_format:
        raise DataError(f"{path} names a token twice in one row.")
    return vocabulary, iter([(SparseMatrix.from_scipy(rows), ids)])


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"No file at {path}.", hint="Check the path.")
    try:
        # Opened here: on a broken archive numpy leaves a file of its own opening open.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("data", "indices", "indptr")}
    except _BROKEN_ZIP as error:
        raise DataError(f"{path} is no archive with data, indices and indptr: {error}.") from error
