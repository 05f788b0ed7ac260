"""The binary matrix of the big-ann benchmarks' sparse track, which several engines read.

::

    int64    rows, columns, non-zeros
    int64    indptr, rows + 1
    int32    columns of the non-zeros, ascending in a row
    float32  their values

Little-endian, not compressed. It holds neither ids nor tokens: ids stand in ``FILE.ids``, one a
line, and the vocabulary in ``FILE.vocabulary.json``; a file without them has row numbers as ids
and column numbers as tokens.

References
----------
Simhadri et al.: Results of the Big ANN: NeurIPS'23 competition, arXiv 2409.17424.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.core.errors import DataError
from lsr.core.files import create_bytes, create_text
from lsr.core.sparse import Float32Array, Int32Array, Int64Array, SparseMatrix
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines, read_lines
from lsr.data.fields import parse_id
from lsr.data.vectors import VectorCollection

__all__ = ["ids_path", "read_csr", "read_csr_vocabulary", "vocabulary_path", "write_csr"]

_HEADER_BYTES = 24
_ROWS_A_PART = 50_000


def ids_path(path: Path) -> Path:
    """Return where the ids of a matrix stand."""
    return path.with_name(f"{path.name}.ids")


def vocabulary_path(path: Path) -> Path:
    """Return where the vocabulary of a matrix stands."""
    return path.with_name(f"{path.name}.vocabulary.json")


def write_csr(collection: VectorCollection, path: Path) -> int:
    """Write a collection as one matrix with its ids and vocabulary; return the non-zeros.

    The parts are written one shard at a time: memory does not grow with the collection.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    with create_bytes(path) as sink:
        shape = (collection.n_documents, collection.vocabulary_size, collection.nnz)
        sink.write(np.array(shape, dtype="<i8").tobytes())
        end = 0
        sink.write(np.zeros(1, dtype="<i8").tobytes())
        for shard in collection.shards():
            sink.write((shard.indptr[1:] + end).astype("<i8").tobytes())
            end += int(shard.indptr[-1])
        for shard in collection.shards():
            sink.write(shard.terms.astype("<i4").tobytes())
        for shard in collection.shards():
            sink.write(shard.weights.astype("<f4").tobytes())
    with create_text(ids_path(path)) as stream:
        stream.writelines(f"{parse_id(i, 'The document id')}\n" for i in collection.doc_ids())
    collection.vocabulary.save(vocabulary_path(path))
    return collection.nnz


def read_csr_vocabulary(path: Path) -> Vocabulary:
    """Return the vocabulary beside a matrix, else its column numbers.

    Raises
    ------
    DataError
        If the file is no matrix.
    ArtifactCorruptedError
        If the vocabulary is there and cannot be read.
    """
    if vocabulary_path(path).is_file():
        return Vocabulary.load(vocabulary_path(path))
    return Vocabulary(str(column) for column in range(_read_shape(path)[1]))


def _read_shape(path: Path) -> tuple[int, int, int]:
    if not path.is_file():
        raise DataError(f"No file at {path}.", hint="Check the path.")
    if path.stat().st_size < _HEADER_BYTES:
        raise DataError(f"{path} is shorter than the header of a matrix.")
    n_rows, n_columns, nnz = np.fromfile(path, dtype="<i8", count=3).tolist()
    expected = _HEADER_BYTES + 8 * (n_rows + 1) + 8 * nnz
    if min(n_rows, n_columns, nnz) < 0 or path.stat().st_size != expected:
        raise DataError(
            f"{path} has {path.stat().st_size} bytes; a matrix of {n_rows} rows and {nnz} "
            f"non-zeros has {expected}.",
            hint="It is cut off, compressed, or no big-ann matrix.",
        )
    return n_rows, n_columns, nnz


def read_csr(path: Path) -> Iterator[tuple[SparseMatrix, Sequence[str]]]:
    """Yield a matrix in parts with their ids, as `write_vectors` takes them.

    Raises
    ------
    DataError
        If the file is cut off, is no matrix, is not in canonical form, or there are more or
        fewer ids than rows.
    WeightError
        If a weight is negative, infinite or NaN.
    """
    n_rows, n_columns, nnz = _read_shape(path)

    def mapped(dtype: str, offset: int, count: int) -> NDArray[Any]:
        # numpy maps no empty range.
        if not count:
            return np.empty(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,))

    indptr = mapped("<i8", _HEADER_BYTES, n_rows + 1)
    terms = mapped("<i4", _HEADER_BYTES + 8 * (n_rows + 1), nnz)
    weights = mapped("<f4", _HEADER_BYTES + 8 * (n_rows + 1) + 4 * nnz, nnz)
    if int(indptr[0]) != 0 or int(indptr[-1]) != nnz or (np.diff(indptr) < 0).any():
        raise DataError(f"{path} is damaged: its row pointers do not ascend from 0 to {nnz}.")
    ids = _read_ids(path, n_rows)
    for start in range(0, n_rows, _ROWS_A_PART):
        stop = min(start + _ROWS_A_PART, n_rows)
        low, high = int(indptr[start]), int(indptr[stop])
        yield (
            _canonical(
                np.asarray(indptr[start : stop + 1] - low, dtype=np.int64),
                np.array(terms[low:high], dtype=np.int32),
                np.array(weights[low:high], dtype=np.float32),
                n_columns,
            ),
            [next(ids) for _ in range(start, stop)],
        )
    if next(ids, None) is not None:
        raise DataError(f"{ids_path(path)} has more ids than the matrix has {n_rows} rows.")


def _canonical(
    indptr: Int64Array, terms: Int32Array, weights: Float32Array, n_columns: int
) -> SparseMatrix:
    from scipy.sparse import csr_array

    if len(terms) and not 0 <= int(terms.min()) <= int(terms.max()) < n_columns:
        raise DataError(f"The matrix names a column outside its {n_columns}.")
    # The published files do not promise an order; explicit zeros are dropped here too.
    rows = csr_array((weights, terms, indptr), shape=(len(indptr) - 1, n_columns))
    rows.sort_indices()
    if not rows.has_canonical_format:
        raise DataError("A row of the matrix names a column twice.")
    return SparseMatrix.from_scipy(rows)


def _read_ids(path: Path, n_rows: int) -> Iterator[str]:
    if not ids_path(path).is_file():
        yield from map(str, range(n_rows))
        return
    count = 0
    for _, line in read_lines(ids_path(path), BadLines()):
        yield line
        count += 1
    if count < n_rows:
        raise DataError(f"{ids_path(path)} has {count} ids, the matrix {n_rows} rows.")
