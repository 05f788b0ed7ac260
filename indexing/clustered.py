"""Clustered search (layout B): one order of all documents in which neighbours are alike.

Every four consecutive documents are a block. A query first bounds the score of *all* blocks, from
4-bit block maxima, in vectorised 16-bit sums; it then visits the best blocks and scores their
documents from a contiguous forward index, in 8 bits; the few best are scored again from half
floats. Blocks are disjoint: no document is met twice. With bounds over all query terms, and every
block visited whose bound reaches the k-th score, the result is exact.

Scores are those of the stored half floats, summed in float32 in a fixed order
(`indexing.kernels_scoring.score_fine`): the same on every machine and for any threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from indexing.base import BatchResult, SearchResult, check_k, check_query, check_row
from indexing.clustered_build import build_parts
from indexing.clustered_explain import find_shortcut
from indexing.clustered_parts import ClusteredParts
from indexing.clustered_scratch import Scratch
from indexing.config_clustered import ClusteredLayout, ClusteredParams
from indexing.explain import Reason
from indexing.filters import NO_FILTER, check_allowed, rows_of
from indexing.forward import in_memory
from indexing.jit import read_only
from indexing.kernels_arrays import Settings
from indexing.kernels_clustered import clustered_search
from indexing.kernels_geometry import BLOCK_ROWS
from indexing.kernels_query import MAX_TERMS, term_threshold
from indexing.source import MatrixSource, RowSource
from indexing.threads import ScratchPool, resolve_threads, run_parallel
from lsr.core.artifact import ArtifactWriter
from lsr.core.config import Config
from lsr.core.errors import ArgumentError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector, UInt64Array

if TYPE_CHECKING:
    from indexing.config import IndexConfig

__all__ = ["ClusteredIndex", "SearchStats"]

_APPROXIMATE, _EXACT, _CERTIFIED = 0, 1, 2
_FEW = 8
"""Where less than one row in this many is allowed, only the blocks of allowed rows are listed."""

_NO_BLOCKS = read_only(np.empty(0, dtype=np.uint32))


class SearchStats(NamedTuple):
    """What one search did.

    Attributes
    ----------
    blocks_listed, blocks_visited, documents_scored, documents_rescored : int
    proven : bool
        The result is proven to be exact.
    """

    blocks_listed: int
    blocks_visited: int
    documents_scored: int
    documents_rescored: int
    proven: bool


class ClusteredIndex:
    """Documents in clustered order with block maxima; made by `from_matrix`, `build` or `open`.

    Parameters
    ----------
    parts : ClusteredParts
    """

    kind: ClassVar[str] = "clustered"
    params_model: ClassVar[type[Config] | None] = ClusteredParams

    def __init__(self, parts: ClusteredParts) -> None:
        self._parts = parts
        quantization = parts.forward.quantization
        self._inverse_scale = np.float32(1.0 / quantization.fine_scale)
        self._arguments = (
            *parts.arguments(),
            self._inverse_scale,
            quantization.coarse_scale / quantization.fine_scale,
        )
        self._scratch = ScratchPool(
            lambda: Scratch(
                self.n_documents,
                self.vocabulary_size,
                parts.blocks.dense.shape[1],
                parts.wide.dense.shape[1],
            )
        )
        self._default_params = ClusteredParams()

    @classmethod
    def from_matrix(
        cls,
        matrix: SparseMatrix,
        layout: ClusteredLayout | None = None,
        *,
        seed: int = 42,
        n_threads: int | None = None,
    ) -> ClusteredIndex:
        """Return the index of the rows of `matrix`, in memory."""
        return cls(
            build_parts(
                MatrixSource(matrix),
                in_memory,
                layout or ClusteredLayout(),
                seed=seed,
                n_threads=resolve_threads(n_threads),
            )
        )

    @classmethod
    def build(
        cls,
        source: RowSource,
        writer: ArtifactWriter,
        config: IndexConfig,
        *,
        n_threads: int | None = None,
    ) -> dict[str, Any]:
        """Write the index of `source` into an open artefact, streaming; return its details."""
        if not isinstance(config.layout, ClusteredLayout):
            raise ArgumentError(f"ClusteredIndex.build got the layout {config.layout.kind!r}.")
        parts = build_parts(
            source,
            writer.create_array,
            config.layout,
            seed=config.seed,
            n_threads=resolve_threads(n_threads),
        )
        return parts.details()

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> ClusteredIndex:
        """Return the memory-mapped index that `build` or `save_arrays` wrote.

        Raises
        ------
        ArtifactFormatError
            If its arrays are those of an earlier release.
        """
        return cls(ClusteredParts.open(path, manifest))

    def save_arrays(self, writer: ArtifactWriter) -> dict[str, Any]:
        """Write the arrays through `writer`; return the manifest details that `open` needs."""
        for name, array in self._parts.arrays().items():
            writer.array(name, array)
        return self._parts.details()

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return len(self._parts.document_rows)

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""
        return self._parts.forward.vocabulary_size

    @property
    def wide_rows(self) -> int:
        """Documents of a wide block; 0 without a first level of them."""
        return self._parts.wide_rows

    @property
    def nnz(self) -> int:
        """Number of postings."""
        return len(self._parts.forward.terms)

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: ClusteredParams | None = None,
        allowed: UInt64Array | None = None,
    ) -> SearchResult:
        """Return the best `k` rows.

        Parameters
        ----------
        query : SparseVector
            An empty query has an empty result.
        k : int
            1 to `indexing.base.MAX_K`. Approximate results too hold k rows wherever k rows
            score above 0.
        params : ClusteredParams, optional
        allowed : uint64, shape (ceil(n_documents / 64),), optional
            Bitmap of the rows that may be results (`indexing.filters.bitmap`).

        Raises
        ------
        ArgumentError
            If `k`, `params` or `allowed` break their rule.
        VocabularyMismatchError
            If the query has another vocabulary size.
        """
        return self._search_one(query, k, params, allowed, certify=False)[0]

    def search_with_stats(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: ClusteredParams | None = None,
        allowed: UInt64Array | None = None,
    ) -> tuple[SearchResult, SearchStats]:
        """Return the best `k` rows, and whether they are proven to be the exact result.

        The proof bounds all blocks again, with all query terms: about twice the time of `search`.
        Raises what `search` raises.
        """
        return self._search_one(query, k, params, allowed, certify=True)

    def _search_one(
        self,
        query: SparseVector,
        k: int,
        params: ClusteredParams | None,
        allowed: UInt64Array | None,
        *,
        certify: bool,
    ) -> tuple[SearchResult, SearchStats]:
        check_query(query, self.vocabulary_size)
        check_k(k)
        params = self._checked(params)
        rows = np.empty(k, dtype=np.int32)
        scores = np.empty(k, dtype=np.float32)
        if not query.nnz or not self.n_documents:
            return SearchResult(rows[:0], scores[:0]), SearchStats(0, 0, 0, 0, True)
        words, chosen = self._filter(allowed)
        with self._scratch.borrow() as scratch:
            n = self._run(
                read_only(query.terms),
                read_only(query.weights),
                k,
                params,
                _mode(params, certify=certify),
                words,
                chosen,
                scratch,
                rows,
                scores.view(np.int32),
            )
            listed, visited, scored, rescored, proven = scratch.stats.tolist()
            stats = SearchStats(listed, visited, scored, rescored, bool(proven))
        return SearchResult(rows[:n], scores[:n]), stats

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: ClusteredParams | None = None,
        n_threads: int | None = None,
    ) -> BatchResult:
        """Return the best `k` rows of every query, in their order; threads share the queries.

        Raises
        ------
        ArgumentError
            If `k`, `params` or `n_threads` break their rule.
        VocabularyMismatchError
            If the queries have another vocabulary size.
        """
        check_query(queries, self.vocabulary_size)
        check_k(k)
        params = self._checked(params)
        mode = _mode(params, certify=False)
        rows = np.full((queries.n_rows, k), -1, dtype=np.int32)
        scores = np.zeros((queries.n_rows, k), dtype=np.float32)
        bits = scores.view(np.int32)
        terms, weights = read_only(queries.terms), read_only(queries.weights)
        bounds = queries.indptr.tolist()

        def run(item: int) -> None:
            here = slice(bounds[item], bounds[item + 1])
            if here.start == here.stop:
                return
            with self._scratch.borrow() as scratch:
                self._run(
                    terms[here],
                    weights[here],
                    k,
                    params,
                    mode,
                    NO_FILTER,
                    _NO_BLOCKS,
                    scratch,
                    rows[item],
                    bits[item],
                )

        if self.n_documents:
            run_parallel(run, queries.n_rows, resolve_threads(n_threads))
        return BatchResult(rows, scores)

    def _run(
        self,
        terms: Int32Array,
        weights: Float32Array,
        k: int,
        params: ClusteredParams,
        mode: int,
        allowed: UInt64Array,
        chosen: Any,
        scratch: Scratch,
        out_rows: Int32Array,
        out_bits: Int32Array,
    ) -> int:
        blocks, wide = params.blocks_for(k), params.wide_blocks_for(k)
        if len(allowed) and not len(chosen):
            # As many allowed documents are met as without a filter.
            n_allowed = int(np.bitwise_count(allowed).sum())
            blocks = blocks * self.n_documents // n_allowed
            wide = wide * self.n_documents // n_allowed
        settings = Settings(
            k,
            mode,
            params.query_mass,
            params.heap_factor,
            blocks,
            wide,
            params.rescore_share,
        )
        n: int = clustered_search(
            self._arguments,
            terms,
            weights,
            tuple(settings),
            allowed,
            chosen,
            scratch.arguments(k),
            out_rows,
            out_bits,
        )
        return n

    def _checked(self, params: ClusteredParams | None) -> ClusteredParams:
        if params is None:
            return self._default_params
        if not isinstance(params, ClusteredParams):
            raise ArgumentError(
                f"Clustered search takes ClusteredParams, got {type(params).__name__}."
            )
        return params

    def _filter(self, allowed: UInt64Array | None) -> tuple[UInt64Array, Any]:
        """Return the bitmap, and the blocks of its rows where they are few."""
        words = check_allowed(allowed, self.n_documents)
        if not len(words):
            return NO_FILTER, _NO_BLOCKS
        if int(np.bitwise_count(words).sum()) * _FEW > self.n_documents:
            return words, _NO_BLOCKS
        positions = self._parts.positions[rows_of(words, self.n_documents)]
        # Marked rather than sorted: 40 µs for 10,000 rows instead of a millisecond.
        marked = np.zeros(-(-self.n_documents // BLOCK_ROWS), dtype=np.bool_)
        marked[positions // BLOCK_ROWS] = True
        blocks = np.flatnonzero(marked).astype(np.uint32)
        if not len(blocks):
            # No row at all: one block lets the kernel find nothing, quickly.
            blocks = np.zeros(1, dtype=np.uint32)
        return words, read_only(blocks)

    def document(self, row: int) -> SparseVector:
        """Return the vector of a row as half floats hold it, which is how it is scored.

        Raises
        ------
        ArgumentError
            If there is no such row.
        """
        check_row(row, self.n_documents)
        return self._parts.forward.document(int(self._parts.positions[row]))

    def shortcut(
        self, query: SparseVector, row: int, k: int, *, params: ClusteredParams | None = None
    ) -> tuple[Reason, str]:
        """Return which shortcut kept a row out of a result that it belongs in.

        Returns
        -------
        (str, str)
            An `indexing.explain.Reason`, and a clause with the figures.
        """
        params = self._checked(params)
        rows, bits = np.empty(k, dtype=np.int32), np.empty(k, dtype=np.int32)
        terms, weights = read_only(query.terms), read_only(query.weights)
        filters = (NO_FILTER, _NO_BLOCKS)
        with self._scratch.borrow() as scratch:
            self._run(terms, weights, k, params, _APPROXIMATE, *filters, scratch, rows, bits)
            visited = scratch.visited[: int(scratch.stats[1])].copy()
        return find_shortcut(
            self._parts.blocks,
            query,
            self.document(row),
            int(self._parts.positions[row]) // BLOCK_ROWS,
            params,
            threshold=float(term_threshold(weights, params.query_mass, MAX_TERMS)),
            visited=visited,
            unit=float(self._inverse_scale),
        )

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of each array."""
        return {name: array.nbytes for name, array in self._parts.arrays().items()}


def _mode(params: ClusteredParams, *, certify: bool) -> int:
    if params.exact:
        return _EXACT
    return _CERTIFIED if certify else _APPROXIMATE
