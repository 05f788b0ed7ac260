"""The dense half of an index: vectors of a bi-encoder beside the sparse ones, for hybrid search.

::

    INDEX/dense/
      manifest.json   kind "dense": encoder, kind of index, and which index it belongs to
      dense.faiss     the vectors, row by row those of the index, memory-mapped
      encoder/        the bi-encoder: an index is searched with what it carries

It is an artefact of its own below an index folder, so it can be made, replaced and removed later;
the sparse half does not know of it.
"""

from __future__ import annotations

import logging
import time
from functools import cached_property
from pathlib import Path

from indexing.dense import DenseIndex, DenseKind
from indexing.dense_encoder import DenseEncoder, DenseTextEncoder
from indexing.storage import IndexFolder
from lsr.core.artifact import check_artifact, read_manifest, verify_artifact, write_artifact
from lsr.core.console import progress_bar
from lsr.core.errors import ArgumentError, ArtifactCorruptedError
from lsr.core.manifest import Manifest

__all__ = ["DENSE_FOLDER", "DENSE_FORMAT", "DenseFolder", "add_dense"]

DENSE_FOLDER = "dense"
DENSE_FORMAT = 1
_FAISS = "dense.faiss"
_ENCODER = "encoder"
_CHUNK = 1024

logger = logging.getLogger(__name__)


class DenseFolder:
    """The opened dense half of an index; its parts are loaded on first use.

    Attributes
    ----------
    path : Path
    manifest : Manifest
        ``details`` holds ``encoder``, ``fingerprint``, ``kind``, ``width``, ``n_documents`` and
        ``ids_sha256``, the checksum of the index's document ids.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def of(cls, index: IndexFolder) -> DenseFolder | None:
        """Return the dense half of an index, or None where it has none.

        Raises
        ------
        ArtifactFormatError, ArtifactCorruptedError
            If it is of another format, damaged, or belongs to another index.
        """
        path = index.path / DENSE_FOLDER
        if not path.is_dir():
            return None
        manifest = read_manifest(path, kind="dense", format_version=DENSE_FORMAT)
        check_artifact(path, manifest)
        if manifest.details["ids_sha256"] != _ids_of(index):
            raise ArtifactCorruptedError(
                f"{path} was made for another index: its documents are not those of {index.path}.",
                hint="Make it again: lsr index dense.",
            )
        return cls(path, manifest)

    @property
    def encoder_name(self) -> str:
        """How the bi-encoder is called."""
        return str(self.manifest.details["encoder"])

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self.manifest.details["width"])

    @cached_property
    def index(self) -> DenseIndex:
        """The vectors; raises MissingDependencyError without faiss."""
        return DenseIndex.load(self.path / _FAISS, kind=self.manifest.details["kind"])

    @cached_property
    def encoder(self) -> DenseEncoder:
        """The bi-encoder; needs torch when it encodes."""
        return DenseEncoder(self.path / _ENCODER)

    def verify(self) -> list[str]:
        """Read every file; return one line for each that is missing or differs."""
        return verify_artifact(self.path, self.manifest)


def _ids_of(index: IndexFolder) -> str:
    return index.manifest.files["ids.data.npy"].sha256


def add_dense(
    index: IndexFolder,
    encoder: DenseTextEncoder,
    *,
    kind: DenseKind = "flat",
    m: int = 32,
    ef_construction: int = 200,
    ef_search: int = 128,
    batch_size: int = 32,
    overwrite: bool = False,
) -> DenseFolder:
    """Encode the documents of an index with a bi-encoder, keep the vectors beside it, return them.

    Parameters
    ----------
    index : IndexFolder
        With stored documents.
    encoder : DenseTextEncoder
        Copied into the folder.
    kind : {"flat", "hnsw"}
        Exact; or a graph, for more than a few hundred thousand documents.
    m, ef_construction, ef_search : int
        As for `indexing.dense.DenseIndex`.
    batch_size : int
        Texts encoded together.
    overwrite : bool
        Replace what is there.

    Raises
    ------
    ArgumentError
        If the index stores no documents.
    ArtifactExistsError
        If it has a dense half and `overwrite` is off.
    MissingDependencyError
        If torch or faiss is not installed.
    """
    documents = index.documents
    if documents is None or not index.n_documents:
        raise ArgumentError(
            f"The index {index.path} stores no documents, so there are no texts to encode.",
            hint="Build it with --corpus.",
        )
    started = time.perf_counter()
    manifest = Manifest.new(
        "dense",
        DENSE_FORMAT,
        details={
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "kind": kind,
            "n_documents": index.n_documents,
            "ids_sha256": _ids_of(index),
        },
        config={"kind": kind, "m": m, "ef_construction": ef_construction, "ef_search": ef_search},
    )
    with write_artifact(index.path / DENSE_FOLDER, manifest, overwrite=overwrite) as writer:
        made: DenseIndex | None = None
        label = f"Embedding with {encoder.name}"
        with progress_bar(label, index.n_documents, unit="documents") as advance:
            for first in range(0, index.n_documents, _CHUNK):
                rows = range(first, min(first + _CHUNK, index.n_documents))
                texts = [document.content for document in documents.get_rows(list(rows))]
                vectors = encoder.encode(texts, batch_size=batch_size, advance=advance)
                if made is None:
                    made = DenseIndex(
                        vectors,
                        kind=kind,
                        m=m,
                        ef_construction=ef_construction,
                        ef_search=ef_search,
                    )
                else:
                    made.add(vectors)
        assert made is not None, "there are documents"
        made.save(writer.path / _FAISS)
        encoder.save(writer.path / _ENCODER)
        manifest.details["width"] = made.width
        manifest.details["build_s"] = round(time.perf_counter() - started, 3)
    logger.info(
        "Embedded %s documents (%s) in %.1f s: %s",
        f"{index.n_documents:,}",
        kind,
        time.perf_counter() - started,
        index.path / DENSE_FOLDER,
    )
    found = DenseFolder.of(index)
    assert found is not None, "it was just written"
    return found
