"""The forward index: the terms and weights of each document, ready to be scored.

A document's terms stand by coarse weight descending, then term ascending, so that its heaviest
terms come first. Terms take two bytes where the vocabulary allows, else four; see
`indexing.quantization` for the two kinds of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing import kernels_forward as kernels
from indexing.jit import read_only
from indexing.quantization import Quantization
from indexing.source import RowSource, row_chunks
from indexing.threads import run_parallel
from lsr.core.artifact import open_array
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int64Array, SparseMatrix, SparseVector, UInt8Array, UInt16Array

__all__ = ["Allocate", "ForwardIndex", "build_forward", "in_memory"]

Allocate = Callable[[str, Any, tuple[int, ...]], NDArray[Any]]
"""Makes a new writable array by name, dtype and shape: in memory, or a file of an artefact."""

_CHUNK_ROWS = 16_384


def in_memory(name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a new array in memory (an `Allocate`)."""
    return np.empty(shape, dtype=dtype)


@dataclass(frozen=True, slots=True)
class ForwardIndex:
    """The documents' vectors.

    Attributes
    ----------
    pointers : int64, shape (n_documents + 1,)
        Row `r` is ``pointers[r]:pointers[r + 1]`` of the other arrays.
    terms : uint16 or uint32, shape (nnz,)
    coarse : uint8, shape (nnz,)
    fine : uint16, shape (nnz,)
        Bits of half floats.
    quantization : Quantization
    vocabulary_size : int
    """

    pointers: Int64Array
    terms: NDArray[Any]
    coarse: UInt8Array
    fine: UInt16Array
    quantization: Quantization
    vocabulary_size: int

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return len(self.pointers) - 1

    def rows(self, first: int, last: int) -> SparseMatrix:
        """Return the vectors of the rows ``first:last`` as they are scored in the end."""
        here = slice(int(self.pointers[first]), int(self.pointers[last]))
        terms = self.terms[here].astype(np.int32)
        weights = self.quantization.weights(self.fine[here])
        row_of = np.repeat(np.arange(last - first), np.diff(self.pointers[first : last + 1]))
        order = np.lexsort((terms, row_of))
        # A weight too small for a half float has become 0.
        order = order[weights[order] > 0]
        indptr = np.zeros(last - first + 1, dtype=np.int64)
        np.cumsum(np.bincount(row_of[order], minlength=last - first), out=indptr[1:])
        shape = (last - first, self.vocabulary_size)
        return SparseMatrix(indptr, terms[order], weights[order], shape)

    def document(self, row: int) -> SparseVector:
        """Return the vector of a row as it is scored in the end."""
        return self.rows(row, row + 1).row(0)

    def details(self) -> dict[str, Any]:
        """Return what `open` needs beside the arrays."""
        return {"largest_weight": self.quantization.largest}

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> ForwardIndex:
        """Return the memory-mapped index that `build_forward` wrote as ``forward/…``."""
        return cls(
            open_array(path, "forward/pointers", manifest),
            open_array(path, "forward/terms", manifest),
            open_array(path, "forward/coarse", manifest),
            open_array(path, "forward/fine", manifest),
            Quantization(float(manifest.details["largest_weight"])),
            int(manifest.details["vocabulary_size"]),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the name they are stored under."""
        return {
            "forward/pointers": self.pointers,
            "forward/terms": self.terms,
            "forward/coarse": self.coarse,
            "forward/fine": self.fine,
        }


def build_forward(
    source: RowSource,
    allocate: Allocate,
    *,
    n_threads: int,
    quantization: Quantization | None = None,
) -> ForwardIndex:
    """Fill new arrays ``forward/…`` with the rows of `source`, in their order.

    At most `n_threads` chunks of rows are in memory at once; the result does not depend on it.
    A `quantization` given spares a walk over the source to find it.
    """
    quantization = quantization or Quantization.of(source)
    wide = source.vocabulary_size > 65_536
    pointers = allocate("forward/pointers", np.int64, (source.n_documents + 1,))
    terms = allocate("forward/terms", np.uint32 if wide else np.uint16, (source.nnz,))
    coarse = allocate("forward/coarse", np.uint8, (source.nnz,))
    fine = allocate("forward/fine", np.uint16, (source.nnz,))
    pointers[0] = 0

    def pack(chunk: SparseMatrix, row: int, at: int) -> None:
        pointers[row + 1 : row + 1 + chunk.n_rows] = at + chunk.indptr[1:] - chunk.indptr[0]
        stop = at + chunk.nnz
        kernels.order_rows(
            read_only(chunk.indptr - chunk.indptr[0]),
            read_only(chunk.terms.astype(terms.dtype)),
            read_only(quantization.coarse(chunk.weights)),
            read_only(quantization.fine(chunk.weights)),
            # Plain ndarrays: numba compiles memmap's subclass apart.
            np.asarray(terms[at:stop]),
            np.asarray(coarse[at:stop]),
            np.asarray(fine[at:stop]),
            np.empty(257, np.int64),
        )

    row, at, chunks = 0, 0, row_chunks(source, _CHUNK_ROWS)
    while batch := [chunk for _, chunk in zip(range(n_threads), chunks, strict=False)]:
        rows = row + np.cumsum([0, *(chunk.n_rows for chunk in batch)])
        starts = at + np.cumsum([0, *(chunk.nnz for chunk in batch)])
        jobs = list(zip(batch, rows.tolist(), starts.tolist(), strict=False))
        run_parallel(partial(_run_job, pack, jobs), len(jobs), n_threads)
        row, at = int(rows[-1]), int(starts[-1])
    return ForwardIndex(
        read_only(pointers),
        read_only(terms),
        read_only(coarse),
        read_only(fine),
        quantization,
        source.vocabulary_size,
    )


def _run_job(
    pack: Callable[[SparseMatrix, int, int], None],
    jobs: list[tuple[SparseMatrix, int, int]],
    item: int,
) -> None:
    pack(*jobs[item])
