"""An encoded collection: sparse vectors in shards, their ids, the vocabulary, the query side.

::

    COLLECTION/
      manifest.json            kind "vectors"; encoder, counts, idf convention, fingerprint
      vocabulary.json          tokens by term
      shard-00000/             indptr.npy, terms.npy, weights.npy (CSR) and the ids;
                               origins.npy, origins_offsets.npy where positions were kept
      query_encoder/           what encodes queries for these vectors (opaque here)

It is an artefact of its own: any index is built from it, streaming shard by shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.artifact import (
    ArtifactWriter,
    check_artifact,
    open_array,
    read_manifest,
    write_artifact,
)
from lsr.core.errors import DataError, DuplicateIdError
from lsr.core.manifest import Manifest
from lsr.core.origins import OriginTable
from lsr.core.sparse import SparseMatrix, vstack
from lsr.core.strings import StringTable
from lsr.core.vocabulary import Vocabulary

__all__ = [
    "QUERY_ENCODER_FOLDER",
    "VECTORS_FORMAT",
    "VectorCollection",
    "open_vectors",
    "require_new_ids",
    "write_shard",
    "write_vectors",
]

VECTORS_FORMAT = 1
QUERY_ENCODER_FOLDER = "query_encoder"


class VectorCollection:
    """An encoded collection on disk, opened read-only and memory-mapped.

    Attributes
    ----------
    path : Path
        Its folder.
    manifest : Manifest
        ``details`` holds ``n_documents``, ``nnz``, ``shards``, ``vocabulary_fingerprint``,
        ``vocabulary_size``, ``idf`` and ``encoder``.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._vocabulary: Vocabulary | None = None

    @property
    def n_documents(self) -> int:
        """Number of rows in all shards."""
        return int(self.manifest.details["n_documents"])

    @property
    def nnz(self) -> int:
        """Number of stored weights."""
        return int(self.manifest.details["nnz"])

    @property
    def vocabulary_size(self) -> int:
        """Number of columns."""
        return int(self.manifest.details["vocabulary_size"])

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return len(self.manifest.details["shards"])

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary, read on first use."""
        if self._vocabulary is None:
            self._vocabulary = Vocabulary.load(self.path / "vocabulary.json")
        return self._vocabulary

    @property
    def query_encoder_path(self) -> Path | None:
        """Folder of the query side, or None where the vectors came without one."""
        path = self.path / QUERY_ENCODER_FOLDER
        return path if path.is_dir() else None

    def shard(self, number: int) -> SparseMatrix:
        """Return the memory-mapped matrix of one shard."""
        name = self.manifest.details["shards"][number]
        indptr = open_array(self.path, f"{name}/indptr", self.manifest)
        return SparseMatrix(
            indptr,
            open_array(self.path, f"{name}/terms", self.manifest),
            open_array(self.path, f"{name}/weights", self.manifest),
            (len(indptr) - 1, self.vocabulary_size),
        )

    def shards(self) -> Iterator[SparseMatrix]:
        """Yield the shards in row order."""
        for number in range(self.n_shards):
            yield self.shard(number)

    @property
    def has_origins(self) -> bool:
        """Whether positions were kept (``lsr encode --positions``)."""
        return bool(self.manifest.details.get("origins", False))

    def origins(self) -> Iterator[bytes]:
        """Yield the packed origins in row order (`lsr.core.origins`), where they were kept."""
        for name in self.manifest.details["shards"]:
            yield from OriginTable(
                open_array(self.path, f"{name}/origins", self.manifest),
                open_array(self.path, f"{name}/origins_offsets", self.manifest),
            )

    def doc_ids(self) -> Iterator[str]:
        """Yield the document ids in row order."""
        for name in self.manifest.details["shards"]:
            yield from StringTable.open(self.path, f"{name}/ids", self.manifest)

    def matrix(self) -> SparseMatrix:
        """Return all rows as one matrix in memory."""
        if self.n_shards == 1:
            return self.shard(0)
        return vstack(self.shards(), self.vocabulary_size)


def open_vectors(path: Path) -> VectorCollection:
    """Return the encoded collection at `path`.

    Raises
    ------
    ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
        If it is not there, not of this format, or damaged.
    """
    path = Path(path)
    manifest = read_manifest(path, kind="vectors", format_version=VECTORS_FORMAT)
    check_artifact(path, manifest)
    return VectorCollection(path, manifest)


def write_shard(
    writer: ArtifactWriter,
    number: int,
    matrix: SparseMatrix,
    doc_ids: Sequence[str],
    origins: Sequence[bytes] | None = None,
) -> str:
    """Write one shard into an open artefact and return its name."""
    if matrix.n_rows != len(doc_ids):
        raise DataError(f"{matrix.n_rows} vectors but {len(doc_ids)} ids.")
    name = f"shard-{number:05d}"
    writer.array(f"{name}/indptr", matrix.indptr)
    writer.array(f"{name}/terms", matrix.terms)
    writer.array(f"{name}/weights", matrix.weights)
    StringTable.from_strings(doc_ids).write(writer, f"{name}/ids")
    if origins is not None:
        table = OriginTable.from_rows(origins)
        writer.array(f"{name}/origins", table.data)
        writer.array(f"{name}/origins_offsets", table.offsets)
    return name


def write_vectors(
    path: Path,
    parts: Iterable[tuple[SparseMatrix, Sequence[str]]],
    vocabulary: Vocabulary,
    *,
    encoder: str,
    idf: str,
    query_encoder: Path | None = None,
    config: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> VectorCollection:
    """Write an encoded collection from parts in memory, one shard a part, and open it.

    Parameters
    ----------
    path : Path
        The new folder.
    parts : iterable of (SparseMatrix, sequence of str)
        Vectors and their ids.
    vocabulary : Vocabulary
        Of all parts.
    encoder : str
        Name of what made the vectors.
    idf : {"query", "document", "none"}
        Which side's weights carry the idf.
    query_encoder : Path, optional
        Folder with the query side, copied.
    config : dict, optional
        How the vectors were made.
    overwrite : bool
        Replace what stands at `path`.

    Raises
    ------
    DuplicateIdError
        If an id stands twice, in one shard or in two.
    """
    names: list[str] = []
    counts = np.zeros(2, dtype=np.int64)
    seen: set[str] = set()
    # The manifest is made before the parts are known; `details` is filled while writing.
    details: dict[str, Any] = {
        "vocabulary_fingerprint": vocabulary.fingerprint,
        "vocabulary_size": len(vocabulary),
        "idf": idf,
        "encoder": encoder,
        "shards": names,
    }
    manifest = Manifest.new("vectors", VECTORS_FORMAT, details=details, config=config)
    with write_artifact(path, manifest, overwrite=overwrite) as writer:
        for number, (matrix, doc_ids) in enumerate(parts):
            matrix.check()
            if matrix.size != len(vocabulary):
                raise DataError(
                    f"Shard {number} has {matrix.size} columns, the vocabulary {len(vocabulary)}."
                )
            require_new_ids(doc_ids, seen)
            names.append(write_shard(writer, number, matrix, doc_ids))
            counts += (matrix.n_rows, matrix.nnz)
        details["n_documents"], details["nnz"] = int(counts[0]), int(counts[1])
        manifest.details.update(details)
        vocabulary.save(writer.path / "vocabulary.json")
        if query_encoder is not None:
            writer.copy_tree(QUERY_ENCODER_FOLDER, query_encoder)
    return open_vectors(path)


def require_new_ids(doc_ids: Sequence[str], seen: set[str]) -> None:
    """Add `doc_ids` to `seen`.

    Raises
    ------
    DuplicateIdError
        If one is there already.
    """
    for doc_id in doc_ids:
        if doc_id in seen:
            raise DuplicateIdError(
                f"The document id {doc_id!r} stands twice in the collection.",
                hint="Give every document its own id.",
            )
        seen.add(doc_id)
