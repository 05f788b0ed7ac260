"""From an encoded collection to an index folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from indexing.config import IndexConfig
from indexing.filters_fields import FieldType
from indexing.folder_filter import write_fields
from indexing.storage import INDEX_FORMAT, QUERY_ENCODER_FOLDER, IndexFolder, layout_class
from indexing.store import DOCUMENTS_NAME, read_metadata, write_documents
from lsr.core.artifact import write_artifact
from lsr.core.config import config_hash
from lsr.core.errors import VocabularyMismatchError
from lsr.core.manifest import Manifest
from lsr.core.records import Document
from lsr.core.sparse import Int32Array
from lsr.core.strings import StringTable
from lsr.data.vectors import VectorCollection, open_vectors

__all__ = ["build_index"]

logger = logging.getLogger(__name__)


def build_index(
    vectors: Path,
    out: Path,
    config: IndexConfig | None = None,
    *,
    corpus: Iterable[Document] | None = None,
    fields: Mapping[str, FieldType] | None = None,
    overwrite: bool = False,
    n_threads: int | None = None,
) -> IndexFolder:
    """Build the index of an encoded collection and return it, opened.

    Parameters
    ----------
    vectors : Path
        An encoded collection (``lsr encode``).
    out : Path
        The new folder; it appears whole or not at all.
    config : IndexConfig, optional
        The layout and its parameters; otherwise the layout that suits the size.
    corpus : iterable of Document, optional
        The encoded documents, to be stored in the index, in any order.
    fields : mapping of str to str, optional
        Types of metadata fields, for filters; others take the type of their values, and are not
        filterable where these have several (`indexing.folder_filter`).
    overwrite : bool
        Replace the index that stands at `out`.
    n_threads : int, optional
        The result does not depend on it.

    Raises
    ------
    ArtifactError
        If `vectors` is missing or damaged, `out` is taken, or the disk refuses.
    DataError
        If the corpus lacks a document of the collection, or holds one twice, or a value is not
        of its field's declared type.
    """
    started = time.perf_counter()
    source = open_vectors(vectors)
    config = (config or IndexConfig()).for_size(source.n_documents)
    layout = layout_class(config.layout.kind)
    if len(source.vocabulary) != source.vocabulary_size:
        raise VocabularyMismatchError(
            f"{vectors} has {source.vocabulary_size} columns but {len(source.vocabulary)} tokens."
        )
    # Filled below, before the writer puts the manifest on disk.
    details: dict[str, Any] = {
        "layout": config.layout.kind,
        "nnz": source.nnz,
        "vocabulary_fingerprint": source.manifest.details["vocabulary_fingerprint"],
        "idf": source.manifest.details["idf"],
        "encoder": source.manifest.details["encoder"],
        "vectors": {
            "created": source.manifest.created,
            "config": source.manifest.config,
            "config_hash": source.manifest.config_hash,
        },
        "has_documents": corpus is not None,
    }
    manifest = Manifest.new(
        "index",
        INDEX_FORMAT,
        details=details,
        config=config.model_dump(mode="json"),
        config_hash=config_hash(config),
        seed=config.seed,
    )
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        doc_ids = StringTable.from_strings(list(source.doc_ids()))
        doc_ids.write(writer, "ids")
        source.vocabulary.save(writer.path / "vocabulary.json")
        if source.query_encoder_path is not None:
            writer.copy_tree(QUERY_ENCODER_FOLDER, source.query_encoder_path)
        made = layout.build(source, writer, config, n_threads=n_threads)
        manifest.details.update(made)
        if corpus is not None:
            passed_over = write_documents(
                writer.path / DOCUMENTS_NAME,
                corpus,
                doc_ids,
                origins=_origins(source) if source.has_origins else None,
            )
            if passed_over:
                logger.info("%d documents of the corpus have no vector.", passed_over)
            manifest.details["fields"] = write_fields(
                writer, partial(read_metadata, writer.path / DOCUMENTS_NAME), fields or {}
            )
        manifest.details["build_s"] = round(time.perf_counter() - started, 3)
    logger.info(
        "Indexed %s documents (%s) in %.1f s: %s",
        f"{source.n_documents:,}",
        config.layout.kind,
        time.perf_counter() - started,
        out,
    )
    return IndexFolder.open(out)


def _origins(source: VectorCollection) -> Iterator[tuple[Int32Array, bytes]]:
    terms = (vector.terms for shard in source.shards() for vector in shard)
    return zip(terms, source.origins(), strict=True)
