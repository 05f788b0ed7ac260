"""Making, copying and keeping collections: what the administrative routes have done in threads."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from indexing.collection import Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_copies import SNAPSHOT_FORMAT, restore, snapshot
from indexing.tuning import Tuning, TuningOptions
from lsr.core.artifact import read_manifest
from lsr.core.config import load_config
from lsr.core.errors import ConfigError
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.loading import load_encoder
from serving.catalog import Served
from serving.collection_source import CollectionSource
from serving.encoding import DocumentEncoders
from serving.engine import Engine
from serving.schemas_admin import (
    CreateRequest,
    IndexStats,
    SegmentStats,
    SnapshotInfo,
    TaskBody,
    TunedTarget,
    TuneRequest,
    TuningStats,
    WriteStats,
)
from serving.tasks import Task

__all__ = [
    "collection_config",
    "index_stats",
    "make_collection",
    "restore_collection",
    "snapshot_info",
    "take_snapshot",
    "task_body",
    "tune_index",
    "tuning_stats",
]

EXTERNAL = "external"
"""What stands for the encoder where vectors are made elsewhere."""


def collection_config(request: CreateRequest) -> CollectionConfig:
    """Return the config that a request asks for.

    Raises
    ------
    ConfigError
        Naming every key that is unknown or out of range.
    """
    values: dict[str, Any] = dict(request.config)
    if request.fields:
        if "fields" in values:
            raise ConfigError("fields: stands twice, in the request and in its config.")
        values["fields"] = request.fields
    return load_config(CollectionConfig, values=values)


def make_collection(path: Path, request: CreateRequest, encoders: DocumentEncoders) -> None:
    """Make the empty collection that a request asks for, whole or not at all.

    Raises
    ------
    ConfigError, ArgumentError, DataError
        If the config, the encoder's name or the vocabulary breaks a rule.
    EncoderError
        If the encoder cannot be loaded.
    """
    config = collection_config(request)
    dense = encoders.require_dense(request.dense) if request.dense else request.dense_width
    if request.encoder is None:
        given = request.vocabulary
        tokens = map(str, range(given)) if isinstance(given, int) else given or ()
        Collection.create(
            path, Vocabulary(tokens), config=config, encoder=EXTERNAL, idf="none", dense=dense
        ).close()
        return
    side = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        made = encoders.save_query_side(request.encoder, side, positions=config.positions)
        Collection.create(
            path,
            load_encoder(side).vocabulary,
            config=config,
            encoder=made.name,
            idf=made.idf,
            query_encoder=side,
            document_encoder={"name": request.encoder, "fingerprint": made.fingerprint},
            dense=dense,
        ).close()
    finally:
        shutil.rmtree(side, ignore_errors=True)


def take_snapshot(collection: Path, out: Path) -> dict[str, Any]:
    """Write a consistent copy of a collection; return its name, counts and size."""
    return {"snapshot": out.name, **snapshot(collection, out)}


def restore_collection(source: Path, out: Path) -> None:
    """Make a collection from a snapshot; every file is checked first."""
    restore(source, out).close()


def snapshot_info(path: Path) -> SnapshotInfo:
    """Return the description of a snapshot."""
    manifest = read_manifest(path, kind="snapshot", format_version=SNAPSHOT_FORMAT)
    return SnapshotInfo(
        name=path.name,
        created=manifest.created,
        n_documents=manifest.details["n_documents"],
        generation=manifest.details["generation"],
        bytes=sum(entry.bytes for entry in manifest.files.values()),
    )


def index_stats(served: Served) -> IndexStats:
    """Return counts and sizes of an index."""
    engine, writer = served.engine, served.writer
    source = engine.source
    collection = None
    if isinstance(source, CollectionSource):
        stats = source.collection.stats()
        collection = WriteStats(
            **{name: stats[name] for name in ("generation", "head_documents", "store_bytes")},
            log_bytes=stats["log_bytes"],
            trouble=stats["trouble"],
            segments=[SegmentStats(**segment) for segment in stats["segments"]],
            pending_writes=writer.pending if writer else 0,
            pending_documents=writer.pending_documents if writer else 0,
            inbox_bytes=writer.inbox_bytes if writer else 0,
        )
    return IndexStats(
        name=engine.name,
        layout=source.layout,
        n_documents=source.n_documents,
        bytes=source.bytes_by_part(),
        tuning=tuning_stats(source.tuning),
        collection=collection,
    )


def tuning_stats(tuning: Tuning | None) -> TuningStats | None:
    """Return what was measured on an index, by target."""
    if tuning is None:
        return None
    names = ("recall", "params", "mean_us", "p99_us", "n_documents")
    return TuningStats(
        k=tuning.k,
        n_held_out=tuning.n_held_out,
        created=tuning.created,
        targets=[
            TunedTarget(target=float(target), **{name: getattr(point, name) for name in names})
            for target, point in sorted(tuning.targets.items())
        ],
    )


def tune_index(engine: Engine, request: TuneRequest, task: Task) -> dict[str, Any]:
    """Measure which search parameters reach a recall; return what was measured.

    Raises
    ------
    ArgumentError
        If the layout has nothing to tune.
    QueryError
        If a query cannot be encoded.
    CheckFailedError
        If nothing reaches the recall in the time.
    """

    def on_setting(at: int, of: int) -> None:
        task.expect(of, "settings")
        task.done = at
        task.check()

    options = TuningOptions(
        recall=request.recall,
        k=request.k,
        p99_ms=request.p99_ms,
        n_threads=1,  # the service goes on answering meanwhile
        on_setting=on_setting,
    )
    tuned = tuning_stats(engine.source.tune(engine.queries.matrix(request.queries), options))
    task.done = task.total or 0
    return tuned.model_dump(mode="json") if tuned is not None else {}


def task_body(task: Task) -> TaskBody:
    """Return the state of a task."""
    return TaskBody.model_validate(task, from_attributes=True)
