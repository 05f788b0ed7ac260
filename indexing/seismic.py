"""Seismic, layout S: pruned lists of blocks with summaries, and a forward index for the scores.

Of a query's heaviest terms, the summaries of their lists' blocks are scored first; the most
promising blocks are visited, and their documents scored from the forward index. Unlike the paper,
the blocks of all lists are visited in one order, best estimate first, rather than list by list;
and documents are scored in bytes first, the last few again from half floats.

References
----------
Bruch, Nardini, Rulli, Venturini: Efficient Inverted Indexes for Approximate Retrieval over
Learned Sparse Representations. SIGIR 2024. Its kNN refinement: Pairing Clustered Inverted Indexes
with kNN Graphs for Fast Approximate Retrieval over Learned Sparse Representations. CIKM 2024.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing import kernels_seismic as kernels
from indexing.arrays import ArrayTarget, DiskArrays, MemoryArrays
from indexing.base import BatchResult, SearchResult, check_k, check_query, check_row
from indexing.config import IndexConfig
from indexing.config_seismic import SeismicLayout, SeismicParams
from indexing.filters import NO_FILTER, check_allowed
from indexing.forward import ForwardIndex
from indexing.jit import read_only
from indexing.seismic_build import build_lists, fill_neighbors
from indexing.seismic_explain import find_shortcut
from indexing.seismic_query import Job, Scratch
from indexing.source import MatrixSource, RowSource
from indexing.threads import ScratchPool, resolve_threads, run_parallel
from lsr.core.artifact import ArtifactWriter, open_array
from lsr.core.config import Config
from lsr.core.errors import ArgumentError
from lsr.core.manifest import Manifest
from lsr.core.sparse import (
    Int32Array,
    SparseMatrix,
    SparseVector,
    UInt64Array,
)

__all__ = ["SeismicIndex"]

LIST_ARRAYS = (
    "blocks_of_list",
    "block_starts",
    "postings",
    "list_components",
    "components",
    "component_offsets",
    "entry_pointers",
    "entry_blocks",
    "entry_weights",
)


class SeismicIndex:
    """The Seismic layout; made by `from_matrix`, `build` or `open`.

    Parameters
    ----------
    arrays : mapping of str to array
        What `indexing.seismic_build.build_lists` made, and ``neighbors``.
    forward : ForwardIndex
    """

    kind: ClassVar[str] = "seismic"
    params_model: ClassVar[type[Config]] = SeismicParams

    def __init__(self, arrays: dict[str, NDArray[Any]], forward: ForwardIndex) -> None:
        self.forward = forward
        self._arrays = {name: read_only(arrays[name]) for name in (*LIST_ARRAYS, "neighbors")}
        self._kernel_arrays = (
            *(self._arrays[name] for name in LIST_ARRAYS),
            forward.pointers,
            forward.terms,
            forward.coarse,
            forward.fine,
            self._arrays["neighbors"],
        )
        lengths = np.sort(np.diff(self._arrays["blocks_of_list"]))[::-1]
        # blocks_of[c]: the most blocks that c lists can have together.
        self._blocks_of = np.concatenate([[0], np.cumsum(lengths)])
        self._weight_scale = 1.0 / forward.quantization.fine_scale
        self._default_params = SeismicParams()
        self._scratch = ScratchPool(lambda: Scratch(self.n_documents, self.vocabulary_size))

    @classmethod
    def from_matrix(
        cls,
        matrix: SparseMatrix,
        layout: SeismicLayout | None = None,
        *,
        seed: int = 42,
        n_threads: int | None = None,
    ) -> SeismicIndex:
        """Return the index of the rows of `matrix`, in memory."""
        return cls._make(
            MatrixSource(matrix),
            MemoryArrays(),
            layout or SeismicLayout(),
            seed=seed,
            n_threads=resolve_threads(n_threads),
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
        """Write the index of `source` into an open artefact; return its manifest details."""
        if not isinstance(config.layout, SeismicLayout):
            raise ArgumentError(f"The layout is {config.layout.kind!r}, not 'seismic'.")
        target = DiskArrays(writer)
        try:
            index = cls._make(
                source,
                target,
                config.layout,
                seed=config.seed,
                n_threads=resolve_threads(n_threads),
            )
        finally:
            target.close()
        return index._details()

    @classmethod
    def _make(
        cls,
        source: RowSource,
        target: ArrayTarget,
        layout: SeismicLayout,
        *,
        seed: int,
        n_threads: int,
    ) -> SeismicIndex:
        forward = build_lists(source, target, layout, seed=seed, n_threads=n_threads)
        neighbors = target.allocate("neighbors", np.int32, (0, layout.n_neighbors))
        if layout.n_neighbors:
            shape = (forward.n_documents, layout.n_neighbors)
            neighbors = target.allocate("neighbors", np.int32, shape)
        index = cls(target.finish(), forward)
        if layout.n_neighbors:
            fill_neighbors(
                neighbors,
                forward,
                lambda documents, k: index.search_batch(documents, k, n_threads=n_threads).rows,
            )
        return index

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> SeismicIndex:
        """Return the memory-mapped index that `build` or `save_arrays` wrote."""
        names = (*LIST_ARRAYS, "neighbors")
        arrays = {name: open_array(path, name, manifest) for name in names}
        return cls(arrays, ForwardIndex.open(path, manifest))

    def save_arrays(self, writer: ArtifactWriter) -> dict[str, Any]:
        """Write the arrays through `writer`; return the manifest details that `open` needs."""
        for name, array in {**self._arrays, **self.forward.arrays()}.items():
            writer.array(name, array)
        return self._details()

    def _details(self) -> dict[str, Any]:
        return {
            "n_documents": self.n_documents,
            "vocabulary_size": self.vocabulary_size,
            "n_postings": len(self._arrays["postings"]),
            "n_blocks": len(self._arrays["block_starts"]) - 1,
            "n_summary_entries": len(self._arrays["entry_weights"]),
            **self.forward.details(),
        }

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return self.forward.n_documents

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""
        return self.forward.vocabulary_size

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: SeismicParams | None = None,
        allowed: UInt64Array | None = None,
    ) -> SearchResult:
        """Return the best `k` rows found.

        Parameters
        ----------
        query : SparseVector
            An empty query has an empty result.
        k : int
            1 to `indexing.base.MAX_K`.
        params : SeismicParams, optional
            The defaults otherwise.
        allowed : uint64, shape (ceil(n_documents / 64),), optional
            Bitmap of the rows that may be results (`indexing.filters.bitmap`).

        Raises
        ------
        ArgumentError
            If `k`, `params` or `allowed` break their rule.
        VocabularyMismatchError
            If the query has another vocabulary size.
        """
        check_query(query, self.vocabulary_size)
        check_k(k)
        chosen = self._check_params(params)
        words = check_allowed(allowed, self.n_documents)
        rows, scores = np.full((1, k), -1, dtype=np.int32), np.zeros((1, k), dtype=np.float32)
        if query.nnz and self.n_documents:
            self._do(self._single(query, k, chosen, words, rows, scores.view(np.int32)))
        n_found = int(np.count_nonzero(rows >= 0))
        return SearchResult(rows[0, :n_found], scores[0, :n_found])

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: SeismicParams | None = None,
        n_threads: int | None = None,
    ) -> BatchResult:
        """Return the best `k` rows found for every query, in their order.

        Raises
        ------
        ArgumentError
            If `k`, `params` or `n_threads` break their rule.
        VocabularyMismatchError
            If the queries have another vocabulary size.
        """
        check_query(queries, self.vocabulary_size)
        check_k(k)
        chosen = self._check_params(params)
        n_threads = resolve_threads(n_threads)
        n_queries = queries.n_rows
        arrays = (read_only(queries.indptr), read_only(queries.terms), read_only(queries.weights))
        nnz = int(np.diff(queries.indptr).max(initial=0))
        out_rows = np.full((n_queries, k), -1, dtype=np.int32)
        out_scores = np.zeros((n_queries, k), dtype=np.float32)
        depth = min(k, self.n_documents)
        if depth and n_queries:
            # Few queries a call: threads finish together, and a call costs little beside them.
            n_calls = n_queries if n_queries < 4 * n_threads else -(-n_queries // 16)
            bounds = np.linspace(0, n_queries, n_calls + 1).astype(int).tolist()
            run_parallel(
                lambda part: self._do(
                    Job(
                        arrays,
                        (bounds[part], bounds[part + 1]),
                        nnz,
                        depth,
                        chosen,
                        NO_FILTER,
                        out_rows,
                        out_scores.view(np.int32),
                    )
                ),
                n_calls,
                n_threads,
            )
        return BatchResult(out_rows, out_scores)

    def _single(
        self,
        query: SparseVector,
        k: int,
        params: SeismicParams,
        allowed: UInt64Array,
        rows: Int32Array,
        bits: Int32Array,
    ) -> Job:
        """Return the job of one query; `rows` and `bits` have one row."""
        indptr = read_only(np.array([0, query.nnz], dtype=np.int64))
        queries = (indptr, read_only(query.terms), read_only(query.weights))
        depth = min(k, self.n_documents)
        return Job(queries, (0, 1), query.nnz, depth, params, allowed, rows, bits)

    def _do(self, job: Job) -> None:
        with self._scratch.borrow() as scratch:
            if job.params.exact:
                self._exact(scratch, job)
            else:
                self._approximate(scratch, job)

    def _approximate(self, scratch: Scratch, job: Job) -> None:
        params = job.params
        cut = min(params.query_cut, job.nnz)
        n_blocks = int(self._blocks_of[cut])
        kernels.seismic_search(
            *self._kernel_arrays,
            *job.queries,
            *job.span,
            job.depth,
            cut,
            params.heap_factor,
            params.rescore_share,
            params.n_knn,
            self._weight_scale,
            job.allowed,
            *scratch.arguments(query_nnz=job.nnz, n_blocks=n_blocks, k=job.depth),
            job.out_rows,
            job.out_bits,
        )

    def _exact(self, scratch: Scratch, job: Job) -> None:
        indptr, terms, weights = job.queries
        scratch.fit(query_nnz=0, n_blocks=0, k=job.depth)
        for query in range(*job.span):
            here = slice(int(indptr[query]), int(indptr[query + 1]))
            kernels.forward_scores(
                self.forward.pointers,
                self.forward.terms,
                self.forward.fine,
                terms[here],
                weights[here],
                self._weight_scale,
                job.depth,
                job.allowed,
                scratch.fine_query,
                scratch.heap,
                job.out_rows[query],
                job.out_bits[query],
            )

    def _check_params(self, params: SeismicParams | None) -> SeismicParams:
        if params is None:
            return self._default_params
        if not isinstance(params, SeismicParams):
            raise ArgumentError(f"A Seismic index takes SeismicParams, got {params!r}.")
        n_neighbors = self._arrays["neighbors"].shape[1]
        if params.n_knn > n_neighbors:
            raise ArgumentError(
                f"n_knn is {params.n_knn}, but the index stores {n_neighbors} neighbours a document.",
                hint="Build it with --set layout.n_neighbors=N.",
            )
        return params

    def document(self, row: int) -> SparseVector:
        """Return the vector of a row as it is scored: weights rounded to half floats.

        Raises
        ------
        ArgumentError
            If there is no such row.
        """
        check_row(row, self.n_documents)
        return self.forward.document(row)

    def shortcut(
        self, query: SparseVector, row: int, k: int, *, params: SeismicParams | None = None
    ) -> tuple[str, str]:
        """Return which shortcut kept a row out of a result that it belongs in.

        Returns
        -------
        (str, str)
            An `indexing.explain.Reason`, and a clause with the figures.
        """
        chosen = self._check_params(params)
        visited = row in self._visited(query, k, chosen)
        return find_shortcut(self._arrays, self.forward, query, row, chosen, visited=visited)

    def _visited(self, query: SparseVector, k: int, params: SeismicParams) -> set[int]:
        """Return the rows that a search scores."""
        rows, bits = np.empty((1, k), np.int32), np.empty((1, k), np.int32)
        job = self._single(query, k, params, NO_FILTER, rows, bits)
        with self._scratch.borrow() as scratch:
            before = int(scratch.stats[2])
            self._approximate(scratch, job)
            return set(scratch.rows[: int(scratch.stats[2]) - before].tolist())

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of each part."""
        size = {name: array.nbytes for name, array in self._arrays.items()}
        return {
            "forward": sum(array.nbytes for array in self.forward.arrays().values()),
            "lists": size["blocks_of_list"] + size["block_starts"] + size["postings"],
            "summaries": sum(size[name] for name in LIST_ARRAYS[3:]),
            "neighbors": size["neighbors"],
        }
