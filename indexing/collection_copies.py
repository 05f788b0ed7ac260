"""Copies of a live collection, and what to do when one is damaged.

A *snapshot* is an artefact (kind "snapshot"): the collection of one generation in a folder, every
file with its checksum. It can be taken beside a process that writes. *Restoring* checks every file
and gives a new collection. *Verifying* reads everything; *repairing* makes again what can be made
from the store: its indexes, and every segment.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexing.collection import COLLECTION_FORMAT, Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_follower import SEGMENTS_FOLDER
from indexing.collection_maintenance import build_range, replace_range, sweep
from indexing.collection_segment import Segment, SegmentView
from indexing.filters import contains
from indexing.live_checks import (
    check_log,
    check_store,
    note_store,
    read_collection,
    stamps_of,
)
from indexing.live_lock import locked
from indexing.live_rows import SegmentRow, Widths
from indexing.live_store import STORE_NAME, LiveStore
from indexing.tuning import TUNING_NAME
from lsr.core.artifact import (
    MANIFEST_NAME,
    check_artifact,
    read_manifest,
    replace_folder,
    storage_errors,
    sync,
    verify_artifact,
    write_artifact,
)
from lsr.core.errors import (
    ArtifactCorruptedError,
    ArtifactExistsError,
    ArtifactNotFoundError,
    LsrError,
)
from lsr.core.manifest import Manifest

__all__ = ["SNAPSHOT_FORMAT", "Repairs", "repair", "restore", "snapshot", "verify"]

logger = logging.getLogger(__name__)

SNAPSHOT_FORMAT = 1
_INNER = "collection"
_ATTEMPTS = 5


def snapshot(path: Path, out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write a consistent copy of the collection at `path` to the new folder `out`.

    Another process, or this one, may write meanwhile: the copy is of one generation.

    Returns
    -------
    dict
        ``generation``, ``n_documents`` and ``bytes`` of the copy.

    Raises
    ------
    ArtifactExistsError
        If `out` is taken and `overwrite` is off.
    ArtifactNotFoundError, ArtifactCorruptedError
        If the collection is not there, or damaged.
    StorageError
        If the disk refuses; nothing is left behind.
    """
    path = Path(path)
    base = read_collection(path, COLLECTION_FORMAT)
    details: dict[str, Any] = {"source": dict(base.details)}
    manifest = Manifest.new("snapshot", SNAPSHOT_FORMAT, details=details, config=base.config)
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        target = writer.path / _INNER
        target.mkdir()
        measured = [TUNING_NAME] if (path / TUNING_NAME).exists() else []
        for name in (MANIFEST_NAME, *base.files, *measured):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path / name, target / name)
        manifest.details.update(_copy_state(path, target, Widths.of(base)))
    return {
        **{name: manifest.details[name] for name in ("generation", "n_documents")},
        "bytes": sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file()),
    }


def _copy_state(path: Path, target: Path, widths: Widths) -> dict[str, int]:
    """Copy the store and its segments, all of one generation."""
    store = LiveStore(path / STORE_NAME, widths, writable=False)
    try:
        for attempt in range(_ATTEMPTS):
            with store.read() as look:
                rows = look.segments()
                try:
                    # Open segments are not removed, whoever merges them away meanwhile.
                    held = [Segment.open(path / SEGMENTS_FOLDER / row.name, row) for row in rows]
                except ArtifactNotFoundError:
                    if attempt + 1 == _ATTEMPTS:
                        raise
                    continue
                state = look.state()
                copy = sqlite3.connect(target / STORE_NAME)
                try:
                    look.connection.backup(copy)
                finally:
                    copy.close()
            break
        for segment in held:
            shutil.copytree(segment.path, target / SEGMENTS_FOLDER / segment.row.name)
    finally:
        store.close()
    (target / SEGMENTS_FOLDER).mkdir(exist_ok=True)
    for leftover in ("-wal", "-shm"):
        (target / f"{STORE_NAME}{leftover}").unlink(missing_ok=True)
    return {"generation": state.generation, "n_documents": state.n_documents}


def restore(source: Path, out: Path) -> Collection:
    """Make a collection at `out` from the snapshot at `source`; return it, open for writing.

    Raises
    ------
    ArtifactNotFoundError, ArtifactFormatError
        If there is no snapshot.
    ArtifactCorruptedError
        If a file of it is missing or differs from its checksum: nothing is restored.
    ArtifactExistsError
        If `out` is taken.
    """
    source, out = Path(source), Path(out)
    manifest = read_manifest(source, kind="snapshot", format_version=SNAPSHOT_FORMAT)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ArtifactExistsError(f"{out} exists already.", hint="Choose another path.")
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(out, "collection"):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            check_artifact(source, manifest)
            shutil.copytree(source / _INNER, temporary)
            copied = {name.removeprefix(f"{_INNER}/"): e for name, e in manifest.files.items()}
            # The copy is checked, not the source: what is checked is what will be read.
            problems = verify_artifact(temporary, manifest.model_copy(update={"files": copied}))
            if problems:
                raise ArtifactCorruptedError(
                    f"The snapshot {source} is damaged: {'; '.join(problems[:5])}.",
                    hint="Use another snapshot.",
                )
            _note_copies(temporary)
            for file in temporary.rglob("*"):
                sync(file)
            sync(temporary)
            replace_folder(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Collection.open(out, mode="w")


def _note_copies(path: Path) -> None:
    """Note the stamps of the copied files, whose checksums were just checked."""
    manifest = read_manifest(path, kind="collection", format_version=COLLECTION_FORMAT)
    store = LiveStore(path / STORE_NAME, Widths.of(manifest), writable=True)
    try:
        with store.write() as transaction:
            for row in transaction.segments():
                stamps = stamps_of(path / SEGMENTS_FOLDER / row.name)
                transaction.put_segment(row._replace(stamps=stamps))
        store.checkpoint()
    finally:
        store.close()
    note_store(path / STORE_NAME)


def verify(path: Path) -> list[str]:
    """Read everything of the collection at `path`; return one line for every problem.

    Beside the checksums of all files and rows: the live documents of each segment are those that
    the store has in its range.
    """
    path = Path(path)
    try:
        manifest = read_collection(path, COLLECTION_FORMAT)
    except ArtifactCorruptedError as error:
        return [error.message]
    problems: list[str] = []
    widths = Widths.of(manifest)
    with locked(path, exclusive=False) as lock:
        try:
            if lock is not None:
                check_log(path / STORE_NAME)
        except LsrError as error:
            return [*problems, error.message]
        problems += check_store(path / STORE_NAME, widths)
        if problems:
            return problems
        return _verify_segments(path, widths)


def _verify_segments(path: Path, widths: Widths) -> list[str]:
    store = LiveStore(path / STORE_NAME, widths, writable=False)
    try:
        with store.read() as look:
            rows = look.segments()
        return [line for row in rows for line in _segment_problems(path, store, row)]
    finally:
        store.close()


def _segment_problems(path: Path, store: LiveStore, row: SegmentRow) -> list[str]:
    """Return one line for everything that is wrong with a segment."""
    try:
        segment = Segment.open(path / SEGMENTS_FOLDER / row.name, row)
        problems = segment.verify()
    except LsrError as error:
        return [error.message]
    if problems:
        return problems
    with store.read() as look:
        view = SegmentView.of(segment, row, look.tombstones(row.first, row.last))
        live = look.live_numbers(row.first, row.last)
    rows = np.arange(segment.n_rows, dtype=np.int64)
    if len(view.alive):
        rows = rows[contains(view.alive, rows)]
    if not np.array_equal(segment.numbers[rows], live):
        return [f"{row.name}: its live documents are not those of the store"]
    return []


class Repairs(NamedTuple):
    """What `repair` did."""

    problems: list[str]
    rebuilt: list[str]


def repair(path: Path, *, everything: bool = False) -> Repairs:
    """Build again the damaged segments of the collection at `path`, or all of them.

    Raises
    ------
    ArtifactCorruptedError
        If documents or vectors themselves are damaged: only a snapshot can bring those back.
    CollectionLockedError
        If another process writes to it.
    """
    path = Path(path)
    manifest = read_collection(path, COLLECTION_FORMAT)
    widths = Widths.of(manifest)
    with locked(path, exclusive=True):
        check_log(path / STORE_NAME)
        problems = check_store(path / STORE_NAME, widths)
        if problems:
            logger.info("The store is damaged (%s); its indexes are made again.", problems[0])
            _reindex(path / STORE_NAME)
            left = check_store(path / STORE_NAME, widths, derived=False)
            if left:
                raise ArtifactCorruptedError(
                    f"{path / STORE_NAME} is damaged: {'; '.join(left[:5])}.",
                    hint="Restore the collection from a snapshot (lsr index restore).",
                )
        return _rebuild(path, manifest, everything=everything, problems=problems)


def _rebuild(path: Path, manifest: Manifest, *, everything: bool, problems: list[str]) -> Repairs:
    config = CollectionConfig.model_validate(manifest.config)
    widths = Widths.of(manifest)
    folder = path / SEGMENTS_FOLDER
    store = LiveStore(path / STORE_NAME, widths, writable=True)
    try:
        with store.read() as look:
            types = {**config.fields, **look.fields()}
            last = look.state().next_number - 1
            try:
                rows = look.segments()
            except ArtifactCorruptedError as error:
                problems, everything = [*problems, error.message], True
        if everything:
            with store.write() as transaction:
                transaction.forget_segments()
            ranges = [(0, last, list[str]())]
        else:
            found = {row.name: _segment_problems(path, store, row) for row in rows}
            problems = [*problems, *(line for lines in found.values() for line in lines)]
            ranges = [(row.first, row.last, [row.name]) for row in rows if found[row.name]]
        rebuilt = []
        for first, end, old in ranges:
            row = build_range(store, folder, first, end, config, types, widths=widths)
            segment = Segment.open(folder / row.name, row) if row is not None else None
            replace_range(store, old, segment, first, end)
            rebuilt += old or ([row.name] if row is not None else [])
        with store.read() as look:
            used = {row.name for row in look.segments()}
        sweep(folder, used)
        store.checkpoint()
    finally:
        store.close()
    note_store(path / STORE_NAME)
    return Repairs(problems, rebuilt)


def _reindex(path: Path) -> None:
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("REINDEX")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise ArtifactCorruptedError(
            f"{path} cannot be mended: {error}.",
            hint="Restore the collection from a snapshot (lsr index restore).",
        ) from error
