"""A corpus to an encoded collection: streamed, in shards, resumable.

Documents are read once, encoded a window at a time (long enough that sorting by length pays),
and written a shard at a time into a work folder (`lsr.encoders.work`). At the end the shards
become the collection by hard links and one rename.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import Field

from lsr.core.artifact import write_artifact
from lsr.core.config import Config, config_hash
from lsr.core.errors import (
    ArgumentError,
    ArtifactExistsError,
    DataError,
    DuplicateIdError,
    EncoderError,
)
from lsr.core.manifest import Manifest
from lsr.core.origins import Origins, places_in
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, vstack
from lsr.data.seen import SeenIds
from lsr.data.vectors import (
    QUERY_ENCODER_FOLDER,
    VECTORS_FORMAT,
    VectorCollection,
    open_vectors,
)
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.limits import text_limits
from lsr.encoders.pruning import prune
from lsr.encoders.tracing import tracing
from lsr.encoders.work import ShardRecord, WorkFolder, documents_hash

__all__ = ["EncodeConfig", "Side", "encode_collection"]

logger = logging.getLogger(__name__)

Side = Literal["documents", "queries"]
_Encode: TypeAlias = Callable[[list[str], int], tuple[SparseMatrix, Origins | None]]


class EncodeConfig(Config):
    """What decides the vectors, besides the encoder.

    Attributes
    ----------
    max_active_dims : int or None
        At most so many terms a text, the heaviest: a smaller index, at some recall.
    min_weight : float
        Lighter terms are dropped.
    shard_size : int
        Texts a shard: what an interruption can cost, and what stands in memory.
    positions : bool
        Keep from which piece of a document's text each weight comes (`lsr.core.origins`): shows
        where added terms come from; about a fifth more space.
    """

    max_active_dims: int | None = Field(default=None, ge=1)
    min_weight: float = Field(default=0.0, ge=0)
    shard_size: int = Field(default=8192, ge=1)
    positions: bool = False


def encode_collection(
    encoder: Encoder | QueryEncoder,
    documents: Iterable[Document],
    out: Path,
    *,
    config: EncodeConfig | None = None,
    side: Side = "documents",
    batch_size: int = 32,
    source: str = "",
    advance: Callable[[int], None] | None = None,
    overwrite: bool = False,
    restart: bool = False,
) -> VectorCollection:
    """Encode `documents` into the new folder `out` and open it.

    Called again after an interruption with the same arguments it goes on where it stopped.
    A text without words gets an empty row.

    Parameters
    ----------
    encoder : Encoder
        With ``side="queries"`` a `QueryEncoder` is enough.
    documents : iterable of Document
        What is encoded is ``document.content``. Queries are passed as documents too.
    out : Path
        The collection's folder; work in progress stands beside it in ``out.partial``.
    config : EncodeConfig, optional
        Pruning and shard size.
    side : {"documents", "queries"}
        Which side of the encoder makes the vectors.
    batch_size : int
        Texts a batch; changes speed and memory, not the result.
    source : str
        What the documents are, for the manifest.
    advance : callable, optional
        Called with the number of texts done, for a progress bar.
    overwrite : bool
        Replace what stands at `out`.
    restart : bool
        Throw away the shards an interrupted run left.

    Raises
    ------
    DuplicateIdError
        If an id stands twice.
    DataError
        If there are no documents, or others than before the interruption.
    ArtifactExistsError
        If `out` exists and `overwrite` is off.
    ArtifactError
        If an interrupted run with another encoder or config left its shards.
    EncoderError
        If the encoder has no document side, or positions are asked for and it keeps none.
    """
    config = config or EncodeConfig()
    out = Path(out)
    if out.exists() and not overwrite:
        raise ArtifactExistsError(
            f"{out} exists already.", hint="Choose another path, or pass --overwrite."
        )
    encode = _encode_function(encoder, side, positions=config.positions)
    key = {
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "side": side,
        **config.model_dump(mode="json"),
    }
    started = time.perf_counter()
    with WorkFolder.open(out, key, restart=restart) as work:
        n_resumed = work.n_finished()
        if n_resumed:
            logger.info("Going on after %d finished shards in %s", n_resumed, work.path)
        records: list[ShardRecord] = []
        seen = SeenIds()
        for number, shard in enumerate(_chunks(documents, config.shard_size)):
            for document in shard:
                if not seen.add(document.doc_id):
                    raise DuplicateIdError(
                        f"The document id {document.doc_id!r} stands twice in the collection.",
                        hint="Give every document its own id.",
                    )
            record = work.check_documents(number, shard)
            if record is None:
                record = _encode_shard(
                    work, number, shard, encode=encode, config=config, batch_size=batch_size,
                    advance=advance,
                )  # fmt: skip
            elif advance is not None:
                advance(len(shard))
            records.append(record)
        _check_complete(work, records)
        details = _details(encoder, records, side=side, source=source)
        details["origins"] = config.positions
        details["encoding"]["n_resumed_shards"] = n_resumed
        details["encoding"]["wall_seconds"] = time.perf_counter() - started
        _seal(encoder, work, out, details, config, overwrite=overwrite)
        work.remove()
    collection = open_vectors(out)
    _log(collection, out)
    return collection


def _encode_function(encoder: Encoder | QueryEncoder, side: Side, *, positions: bool) -> _Encode:
    if side == "queries":
        if positions:
            raise ArgumentError("Positions are kept of documents, not of queries.")
        return lambda texts, size: (encoder.encode_queries(texts, batch_size=size), None)
    if not isinstance(encoder, Encoder):
        raise EncoderError(
            f"The encoder {encoder.name!r} has a query side only; it cannot encode documents.",
            hint="Pass the folder of the whole encoder.",
        )
    if positions:
        trace = tracing(encoder)
        return lambda texts, size: trace(texts, batch_size=size)
    documents = encoder.encode_documents
    return lambda texts, size: (documents(texts, batch_size=size), None)


def _chunks(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    stream = iter(documents)
    while chunk := list(islice(stream, size)):
        yield chunk


def _encode_shard(
    work: WorkFolder,
    number: int,
    shard: list[Document],
    *,
    encode: _Encode,
    config: EncodeConfig,
    batch_size: int,
    advance: Callable[[int], None] | None,
) -> ShardRecord:
    # A window of 32 batches: sorting by length leaves little padding, and the bar still moves.
    window = max(512, 32 * batch_size)
    parts: list[SparseMatrix] = []
    packed: list[bytes] = []
    seconds = 0.0
    size = 0
    for start in range(0, len(shard), window):
        texts = [document.content for document in shard[start : start + window]]
        begun = time.perf_counter()
        part, origins = encode(texts, batch_size)
        seconds += time.perf_counter() - begun
        size = part.check().size
        kept = prune(part, max_active_dims=config.max_active_dims, min_weight=config.min_weight)
        parts.append(kept)
        if origins is not None:
            packed += origins.take(places_in(part, kept)).packed(kept.indptr)
        if advance is not None:
            advance(len(texts))
    matrix = vstack(parts, size)
    record = ShardRecord(
        documents_sha256=documents_hash(shard),
        n_documents=matrix.n_rows,
        nnz=matrix.nnz,
        n_empty=int((np.diff(matrix.indptr) == 0).sum()),
        seconds=seconds,
    )
    doc_ids = [document.doc_id for document in shard]
    work.add(number, matrix, doc_ids, record, origins=packed if config.positions else None)
    logger.info(
        "Shard %d: %d texts at %.0f/s, %.1f terms each",
        number, matrix.n_rows, matrix.n_rows / max(seconds, 1e-9), matrix.nnz / matrix.n_rows,
    )  # fmt: skip
    return record


def _check_complete(work: WorkFolder, records: list[ShardRecord]) -> None:
    if not records:
        work.remove()
        raise DataError("There are no documents to encode.", hint="Check the dataset.")
    if work.n_finished() > len(records):
        raise DataError(
            f"The corpus changed since the encoding that {work.path} continues: it has fewer "
            "documents now.",
            hint="Pass --restart to encode everything again.",
        )


def _details(
    encoder: Encoder | QueryEncoder, records: list[ShardRecord], *, side: Side, source: str
) -> dict[str, Any]:
    n_documents = sum(r.n_documents for r in records)
    nnz = sum(r.nnz for r in records)
    seconds = sum(r.seconds for r in records)
    return {
        "n_documents": n_documents,
        "nnz": nnz,
        "vocabulary_fingerprint": encoder.vocabulary.fingerprint,
        "vocabulary_size": len(encoder.vocabulary),
        "idf": encoder.idf,
        "encoder": encoder.name,
        "side": side,
        "source": source,
        "document_tokens": text_limits(encoder).document_tokens,
        "encoding": {
            "encode_seconds": seconds,
            "documents_per_s": n_documents / seconds if seconds else 0.0,
            "terms_per_document": nnz / n_documents,
            "n_empty": sum(r.n_empty for r in records),
        },
    }


def _seal(
    encoder: Encoder | QueryEncoder,
    work: WorkFolder,
    out: Path,
    details: dict[str, Any],
    config: EncodeConfig,
    *,
    overwrite: bool,
) -> None:
    manifest = Manifest.new(
        "vectors",
        VECTORS_FORMAT,
        details=details,
        config=config.model_dump(mode="json"),
        config_hash=config_hash(config),
    )
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        manifest.details["shards"] = [
            work.move_into(writer, number) for number in range(work.n_finished())
        ]
        encoder.vocabulary.save(writer.path / "vocabulary.json")
        encoder.save_query_side(writer.path / QUERY_ENCODER_FOLDER)


def _log(collection: VectorCollection, out: Path) -> None:
    figures = collection.manifest.details["encoding"]
    logger.info(
        "Encoded %d texts at %.0f/s, %.1f terms each, into %s",
        collection.n_documents, figures["documents_per_s"], figures["terms_per_document"], out,
    )  # fmt: skip
    if figures["n_empty"]:
        logger.warning(
            "%d of %d texts have no terms at all: no query finds them.",
            figures["n_empty"], collection.n_documents,
        )  # fmt: skip
