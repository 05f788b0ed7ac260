"""The systems that `recall_latency` compares, behind one small interface.

Every system builds from the same encoded collection, or loads what it built before, and answers
one query at a time on one thread. A rival's index is made with its own public API and timed with
nothing around the call but the conversion it demands, which is done before the clock starts.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.artifact import read_manifest, write_artifact
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix
from lsr.data.vectors import VectorCollection

Answer = Callable[[int], Any]

# Read when the Rust library is loaded: one thread for search; builds set their own.
os.environ.setdefault("RAYON_NUM_THREADS", "2")


@dataclass
class System:
    """One index of one system.

    Attributes
    ----------
    name : str
        Of the index; `family` is the system's.
    settings : list of dict
        Search settings worth trying; one empty setting where there is nothing to choose.
    prepare : callable
        ``(queries, k, setting)`` gives a function that answers query number `i`.
    rows_of : callable
        The rows in an answer.
    """

    family: str
    name: str
    n_bytes: int
    build_s: float | None
    settings: list[dict[str, Any]]
    prepare: Callable[[SparseMatrix, int, dict[str, Any]], Answer]
    rows_of: Callable[[Any], list[int]]
    exact: bool = False
    build: dict[str, Any] = field(default_factory=dict)


def _grid(**values: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def clustered(
    vectors: VectorCollection,
    folder: Path,
    n_threads: int,
    layout: dict[str, float] | None = None,
) -> list[System]:
    """Return our clustered index twice: approximate, and in exact mode.

    `layout` holds the fields of `ClusteredLayout` that differ from the defaults; the index of
    every layout has its own folder.
    """
    from indexing.clustered import ClusteredIndex
    from indexing.config import IndexConfig
    from indexing.config_clustered import ClusteredLayout, ClusteredParams

    build = layout or {}
    path = folder / "-".join(["clustered", *(f"{key}-{value:g}" for key, value in build.items())])
    if not path.exists():
        config = IndexConfig(layout=ClusteredLayout.model_validate(build))
        manifest = Manifest.new("index", 1, config=config.model_dump(mode="json"))
        with write_artifact(path, manifest, overwrite=False) as writer:
            started = time.perf_counter()
            details = ClusteredIndex.build(vectors, writer, config, n_threads=n_threads)
            details["build_s"] = time.perf_counter() - started
            manifest.details.update(details)
    manifest = read_manifest(path, kind="index", format_version=1)
    index = ClusteredIndex.open(path, manifest)

    def prepare(queries: SparseMatrix, k: int, setting: dict[str, Any]) -> Answer:
        rows, params = list(queries), ClusteredParams(**setting)
        return lambda i: index.search(rows[i], k, params=params)

    def rows_of(answer: Any) -> list[int]:
        found: list[int] = answer.rows.tolist()
        return found

    facts = {
        "n_bytes": sum(index.bytes_by_part().values()),
        "build_s": manifest.details.get("build_s"),
        "prepare": prepare,
        "rows_of": rows_of,
    }
    grid = _grid(
        query_mass=[0.6, 0.7, 0.8, 0.9, 1.0],
        max_blocks=[40, 50, 60, 70, 80, 90, 100, 120, 140, 170, 200, 240, 300, 400],
    )
    if index.wide_rows:
        # More of the large blocks go with more of the small ones.
        grid = [
            {**point, "max_wide_blocks": round(point["max_blocks"] * share)}
            for point in grid[::2]
            for share in (1.5, 2.5, 4, 7)
        ]
    return [
        System("lsr clustered", "lsr clustered", settings=grid, build=build, **facts),
        System("lsr exact mode", "lsr exact mode", settings=[{"exact": True}], exact=True, **facts),
    ]


SEISMIC_LAYOUTS: dict[str, dict[str, Any]] = {
    "default": {},
    "small blocks": {"centroid_fraction": 0.2},
}


def seismic_layout(
    vectors: VectorCollection, folder: Path, n_threads: int, build_name: str = ""
) -> list[System]:
    """Return our Seismic layout: one build of it, or all `SEISMIC_LAYOUTS`."""
    from indexing.config import IndexConfig
    from indexing.config_seismic import SeismicLayout, SeismicParams
    from indexing.seismic import SeismicIndex

    systems = []
    for name in [build_name] if build_name else list(SEISMIC_LAYOUTS):
        build = SEISMIC_LAYOUTS[name]
        path = folder / f"lsr-seismic-{name.replace(' ', '-')}"
        if not path.exists():
            config = IndexConfig(layout=SeismicLayout(**build))
            manifest = Manifest.new("index", 1, config=config.model_dump(mode="json"))
            with write_artifact(path, manifest, overwrite=False) as writer:
                started = time.perf_counter()
                details = SeismicIndex.build(vectors, writer, config, n_threads=n_threads)
                details["build_s"] = time.perf_counter() - started
                manifest.details.update(details)
        manifest = read_manifest(path, kind="index", format_version=1)
        index = SeismicIndex.open(path, manifest)

        def prepare(
            queries: SparseMatrix, k: int, setting: dict[str, Any], index: Any = index
        ) -> Answer:
            rows, params = list(queries), SeismicParams(**setting)
            return lambda i: index.search(rows[i], k, params=params)

        systems.append(
            System(
                "lsr seismic",
                f"lsr seismic {name}",
                n_bytes=sum(index.bytes_by_part().values()),
                build_s=manifest.details["build_s"],
                settings=_grid(
                    query_cut=[3, 4, 5, 6, 8, 10, 12, 15, 20],
                    heap_factor=[0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
                ),
                prepare=prepare,
                rows_of=lambda answer: answer.rows.tolist(),
                build=build,
            )
        )
    return systems


def exact_layout(vectors: VectorCollection, folder: Path, n_threads: int) -> list[System]:
    """Return our exact index: every posting at full precision."""
    from indexing.exact import ExactIndex

    started = time.perf_counter()
    index = ExactIndex.from_matrix(vectors.matrix(), n_threads=n_threads)
    elapsed = time.perf_counter() - started

    def prepare(queries: SparseMatrix, k: int, setting: dict[str, Any]) -> Answer:
        rows = list(queries)
        return lambda i: index.search(rows[i], k)

    return [
        System(
            "lsr exact",
            "lsr exact",
            n_bytes=sum(index.bytes_by_part().values()),
            build_s=elapsed,
            settings=[{}],
            prepare=prepare,
            rows_of=lambda answer: answer.rows.tolist(),
            exact=True,
        )
    ]


def write_seismic_file(vectors: VectorCollection, path: Path) -> None:
    """Write the collection in pyseismic's binary format: a count, then length, terms, weights."""
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as stream:
        stream.write(np.uint32(vectors.n_documents).tobytes())
        for shard in vectors.shards():
            lengths = np.diff(shard.indptr)
            out = np.empty(shard.n_rows + 2 * shard.nnz, dtype=np.uint32)
            starts = np.arange(shard.n_rows) + 2 * shard.indptr[:-1]
            out[starts] = lengths
            row = np.repeat(np.arange(shard.n_rows), lengths)
            at = starts[row] + 1 + np.arange(shard.nnz) - shard.indptr[row]
            out[at] = shard.terms
            out[at + lengths[row]] = np.asarray(shard.weights).view(np.uint32)
            stream.write(out.tobytes())
    temporary.rename(path)


SEISMIC_BUILDS: dict[str, dict[str, Any]] = {
    # The library's defaults, and a denser index that its authors use for high recall.
    "default": {"n_postings": 3500, "centroid_fraction": 0.1, "summary_energy": 0.4},
    "dense": {
        "n_postings": 3000,
        "centroid_fraction": 0.2,
        "summary_energy": 0.5,
        "max_fraction": 6.0,
    },
}


def seismic(
    vectors: VectorCollection, folder: Path, n_threads: int, build_name: str = ""
) -> list[System]:
    """Return pyseismic-lsr's indexes: that of one build, or of all `SEISMIC_BUILDS`."""
    import seismic as library

    systems = []
    names = [build_name] if build_name else list(SEISMIC_BUILDS)
    for name in names:
        build = SEISMIC_BUILDS[name]
        prefix = folder / f"seismic-{name}"
        # pyseismic-lsr 0.5.4 announces a suffix but saves under the bare name.
        file, times = Path(prefix), Path(f"{prefix}.build_s")
        if not file.exists():
            source = folder / "documents.seismic.bin"
            if not source.exists():
                write_seismic_file(vectors, source)
            started = time.perf_counter()
            index = library.SeismicIndexRaw.build(str(source), **build)
            elapsed = time.perf_counter() - started
            index.save(str(prefix))
            times.write_text(str(elapsed))
            del index
        index = library.SeismicIndexRaw.load(str(file))

        def prepare(
            queries: SparseMatrix, k: int, setting: dict[str, Any], index: Any = index
        ) -> Answer:
            rows = [(row.terms, row.weights) for row in queries]
            cut, heap_factor = setting["query_cut"], setting["heap_factor"]
            return lambda i: index.search(*rows[i], k, cut, heap_factor, 0, True)

        systems.append(
            System(
                "pyseismic-lsr",
                f"pyseismic-lsr {name}",
                n_bytes=file.stat().st_size,
                build_s=float(times.read_text()) if times.exists() else None,
                settings=_grid(
                    query_cut=[3, 4, 5, 6, 8, 10, 12, 15, 20],
                    heap_factor=[0.6, 0.7, 0.8, 0.9, 1.0],
                ),
                prepare=prepare,
                rows_of=lambda answer: [row for _, row in answer],
                build=build,
            )
        )
    return systems


def splade_index(vectors: VectorCollection, folder: Path, n_threads: int) -> list[System]:
    """Return splade-index: exact, numba, the scoring and top-k kernels of its numba backend.

    Its public entry takes texts and encodes them; here its kernel gets the vectors, which leaves
    out all of its Python overhead.
    """
    from splade_index.numba.retrieve_utils import _compute_relevance_from_scores_jit_ready
    from splade_index.numba.selection import _numba_sorted_top_k

    started = time.perf_counter()
    columns = vectors.matrix().to_scipy().tocsc()
    data = np.ascontiguousarray(columns.data, dtype=np.float32)
    indptr = np.ascontiguousarray(columns.indptr, dtype=np.int32)
    indices = np.ascontiguousarray(columns.indices, dtype=np.int32)
    elapsed = time.perf_counter() - started

    def prepare(queries: SparseMatrix, k: int, setting: dict[str, Any]) -> Answer:
        rows = [(row.terms.astype(np.int32), row.weights) for row in queries]

        def answer(i: int) -> Any:
            terms, weights = rows[i]
            scores = _compute_relevance_from_scores_jit_ready(
                query_tokens_ids=terms,
                query_tokens_weights=weights,
                data=data,
                indptr=indptr,
                indices=indices,
                num_docs=vectors.n_documents,
                dtype=np.dtype(np.float32),
            )
            return _numba_sorted_top_k(scores, k=k, sorted=True)

        return answer

    return [
        System(
            "splade-index",
            "splade-index",
            n_bytes=data.nbytes + indptr.nbytes + indices.nbytes,
            build_s=elapsed,
            settings=[{}],
            prepare=prepare,
            rows_of=lambda answer: [int(row) for row in answer[1]],
            exact=True,
        )
    ]


def bmp(vectors: VectorCollection, folder: Path, n_threads: int) -> list[System]:
    """Return BMP (Rust): block-max pruning over rows in their given order."""
    import bmp as library

    path = folder / "bmp.index"
    times = folder / "bmp.build_s"
    largest = max(float(shard.weights.max(initial=0)) for shard in vectors.shards())
    if not path.exists():
        started = time.perf_counter()
        indexer = library.Indexer(str(path), bsize=32, compress_range=False)
        row = 0
        for shard in vectors.shards():
            for vector in shard:
                # BMP takes whole impacts of a byte.
                impacts = np.maximum(1, np.rint(vector.weights * (255 / largest))).astype(int)
                terms = map(str, vector.terms.tolist())
                indexer.add_document(str(row), dict(zip(terms, impacts.tolist(), strict=True)))
                row += 1
        indexer.finish()
        times.write_text(str(time.perf_counter() - started))
    searcher = library.Searcher(str(path))

    def prepare(queries: SparseMatrix, k: int, setting: dict[str, Any]) -> Answer:
        rows = [
            {
                str(term): max(1, round(float(weight) * 100))
                for term, weight in zip(row.terms.tolist(), row.weights, strict=True)
            }
            for row in queries
        ]
        return lambda i: searcher.search(rows[i], k, setting["alpha"], setting["beta"])

    return [
        System(
            "bmp",
            "bmp",
            n_bytes=path.stat().st_size,
            build_s=float(times.read_text()) if times.exists() else None,
            settings=_grid(alpha=[0.6, 0.7, 0.8, 0.85, 0.9, 1.0], beta=[0.6, 0.8, 1.0]),
            prepare=prepare,
            rows_of=lambda answer: [int(row) for row in answer[0]],
        )
    ]


SYSTEMS: dict[str, Callable[..., list[System]]] = {
    "clustered": clustered,
    "seismic-layout": seismic_layout,
    "exact-layout": exact_layout,
    "seismic": seismic,
    "splade-index": splade_index,
    "bmp": bmp,
}
