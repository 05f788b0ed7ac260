"""A live collection: documents come, change and go, and every search sees the latest state.

::

    manifest.json      kind "collection", vocabulary fingerprint, config, checksums
    vocabulary.json
    query_encoder/     the query side of the encoder, where there is one
    dense_encoder/     the bi-encoder of the dense half, where there is one
    store.sqlite       documents, vectors, tombstones: the durable truth (`indexing.live_store`)
    segments/          sealed, memory-mapped, derived (`indexing.collection_segment`)
    writer.lock        held by the one process that writes

A write is one transaction of the store; it is acknowledged when the call returns, and searchable.
New documents stay in an exact head in memory (`indexing.collection_head`), which is rebuilt from
the store at opening; when it is full it is sealed into a segment, and segments are merged, in the
background and without holding up anyone (`indexing.collection_maintenance`).

One process writes, any number read the same files: a reader asks the store at every search whether
there is a newer generation (microseconds) and takes over only what changed.
"""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from indexing.collection_batches import Batch, CheckedRow, DenseVectors, checked_rows, values_of
from indexing.collection_config import CollectionConfig
from indexing.collection_follower import DENSE_ENCODER_FOLDER, SEGMENTS_FOLDER
from indexing.collection_head import HeadRow
from indexing.collection_keeper import CollectionKeeper
from indexing.collection_segment import Segment, SegmentView, build_segment
from indexing.collection_view import CollectionView
from indexing.dense_encoder import DenseTextEncoder
from indexing.dense_flat import MAX_DENSE_WIDTH
from indexing.filters_fields import FieldValues
from indexing.live_checks import note_store, read_collection, require_store
from indexing.live_lock import LOCK_NAME, locked
from indexing.live_rows import Widths
from indexing.live_store import STORE_NAME, create_store
from indexing.storage import QUERY_ENCODER_FOLDER, layout_class
from lsr.core.artifact import (
    MANIFEST_NAME,
    ArtifactWriter,
    file_digest,
    replace_folder,
    storage_errors,
    sync,
)
from lsr.core.config import config_hash
from lsr.core.errors import ArgumentError, ArtifactExistsError, LsrError, StorageError
from lsr.core.manifest import Manifest
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary

__all__ = ["COLLECTION_FORMAT", "Batch", "Collection", "UpsertResult"]

logger = logging.getLogger(__name__)

COLLECTION_FORMAT = 2


class UpsertResult(NamedTuple):
    """How many documents a write added, and how many it replaced."""

    n_added: int
    n_replaced: int


class Collection(CollectionKeeper):
    """An open live collection; made by `create` or `open`, closed by `close` or ``with``.

    Every method may be called from many threads at once. Searching is in
    `indexing.collection_reader`, sealing and merging in `indexing.collection_keeper`.
    """

    @classmethod
    def create(
        cls,
        path: Path,
        vocabulary: Vocabulary,
        *,
        config: CollectionConfig | None = None,
        encoder: str,
        idf: str,
        query_encoder: Path | None = None,
        document_encoder: Mapping[str, str] | None = None,
        dense: DenseTextEncoder | int | None = None,
        background: bool = True,
        n_threads: int | None = None,
    ) -> Collection:
        """Make an empty collection at `path` and return it, open for writing.

        Parameters
        ----------
        path : Path
            The new folder; it appears whole or not at all.
        vocabulary : Vocabulary
            Of all vectors to come.
        config : CollectionConfig, optional
            The defaults otherwise.
        encoder : str
            Name of what makes the vectors.
        idf : {"query", "document", "none"}
            Which side's weights carry the idf.
        query_encoder : Path, optional
            Folder with the query side of the encoder, copied.
        document_encoder : mapping, optional
            ``name`` and ``fingerprint`` of what a service encodes documents with; kept in the
            manifest.
        dense : DenseTextEncoder or int, optional
            Give it a dense half, for hybrid search: every document has a dense vector too. The
            bi-encoder, copied; or the width of vectors that are made elsewhere.
        background, n_threads
            As in `open`.

        Raises
        ------
        ArtifactExistsError
            If `path` is taken.
        StorageError
            If the disk refuses.
        """
        path = Path(path)
        config = config or CollectionConfig()
        layout_class(config.index.layout.kind)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise ArtifactExistsError(f"{path} exists already.", hint="Choose another path.")
        if isinstance(dense, int) and not 1 <= dense <= MAX_DENSE_WIDTH:
            raise ArgumentError(f"A dense vector has 1 to {MAX_DENSE_WIDTH} numbers, got {dense}.")
        manifest = Manifest.new(
            "collection",
            COLLECTION_FORMAT,
            details={
                "vocabulary_size": len(vocabulary),
                "vocabulary_fingerprint": vocabulary.fingerprint,
                "encoder": encoder,
                "idf": idf,
                **({"document_encoder": dict(document_encoder)} if document_encoder else {}),
                **({"dense": _described(dense)} if dense is not None else {}),
            },
            config=config.model_dump(mode="json"),
            config_hash=config_hash(config),
            seed=config.index.seed,
        )
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with storage_errors(path, "collection"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            try:
                writer = ArtifactWriter(temporary)
                vocabulary.save(temporary / "vocabulary.json")
                if query_encoder is not None:
                    writer.copy_tree(QUERY_ENCODER_FOLDER, query_encoder)
                if dense is not None and not isinstance(dense, int):
                    dense.save(temporary / DENSE_ENCODER_FOLDER)
                writer.finish(manifest)
                digest = file_digest(temporary / MANIFEST_NAME)
                create_store(temporary / STORE_NAME, digest, dense=dense is not None)
                note_store(temporary / STORE_NAME)
                (temporary / SEGMENTS_FOLDER).mkdir()
                (temporary / LOCK_NAME).touch()
                sync(temporary)
                replace_folder(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(path, mode="w", background=background, n_threads=n_threads)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        mode: Literal["r", "w"] = "r",
        background: bool = True,
        n_threads: int | None = None,
    ) -> Collection:
        """Return the collection at `path`; takes milliseconds, and the time to read the head.

        Parameters
        ----------
        path : Path
            What `create` made.
        mode : {"r", "w"}
            Read, or write as well: one process at a time.
        background : bool
            Seal and merge in a thread of its own; else within the writes that call for it.
        n_threads : int, optional
            Of segment builds.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If it is not there, not of this format, or damaged.
        CollectionLockedError
            If another process writes to it and so would this one.
        """
        path = Path(path)
        manifest = read_collection(path, COLLECTION_FORMAT)
        with locked(path, exclusive=mode == "w") as lock:
            if lock is not None:
                require_store(path / STORE_NAME, Widths.of(manifest))
            handle = os.dup(lock) if lock is not None and mode == "w" else None
            try:
                made = cls(path, manifest, lock=handle, background=background, n_threads=n_threads)
            except BaseException:
                if handle is not None:
                    os.close(handle)
                raise
        if made.writable:
            # What a killed writer left in the log must not stand behind our own writes.
            if made.stats()["log_bytes"]:
                made.checkpoint()
            made.sweep()
        return made

    def upsert(
        self,
        documents: Sequence[Document],
        vectors: SparseMatrix | Sequence[SparseVector],
        *,
        origins: Sequence[bytes] | None = None,
        dense: DenseVectors | None = None,
    ) -> UpsertResult:
        """Add documents, or replace those of the same id: all of them, durably, or none.

        They are searchable when the call returns. Of two with one id the later counts. `origins`
        are the packed origins (`lsr.core.origins`) of each vector, empty where there are none;
        `dense` are the dense vectors, which a collection with a dense half needs.

        Raises
        ------
        DataError, WeightError
            If a document or its vector breaks a rule; see also `indexing.filters_fields`.
        StorageError
            If the disk is full or refuses: nothing was written.
        """
        (result,) = self.upsert_groups([Batch(documents, vectors, origins, dense)])
        if isinstance(result, LsrError):
            raise result
        return result

    def upsert_groups(self, groups: Sequence[Batch]) -> list[UpsertResult | LsrError]:
        """Write several groups of documents as `upsert` would one after another, but synced once.

        Syncing the disk is most of what a small write takes, so writes that wait are best done
        together. Each group is written whole or not at all, and has a result: what it did, or the
        error that kept this group alone from being written.

        Raises
        ------
        StorageError
            If the disk is full or refuses: nothing of any group was written.
        """
        results: list[UpsertResult | LsrError] = []
        checked: list[tuple[int, list[CheckedRow]]] = []
        for at, group in enumerate(groups):
            results.append(UpsertResult(0, 0))
            try:
                checked.append((at, checked_rows(group, self.widths)))
            except LsrError as error:
                results[at] = error
        with self._writing:
            self._require_writable()
            self._require_room()
            view = self._view
            new: dict[str, str] = {}
            planned: list[tuple[int, list[CheckedRow], list[FieldValues]]] = []
            for at, rows in checked:
                try:
                    values, mine = values_of(rows, {**view.types, **new})
                except LsrError as error:
                    results[at] = error
                else:
                    new |= mine
                    planned.append((at, rows, values))
            if not planned:
                return results
            added: list[HeadRow] = []
            dead: set[int] = set()
            with self._store.write() as transaction:
                for at, rows, values in planned:
                    replaced = transaction.remove([row.document.doc_id for row in rows])
                    first = transaction.next.next_number
                    transaction.insert((row.stored for row in rows), first)
                    added += [row.numbered(first + i, values[i]) for i, row in enumerate(rows)]
                    dead.update(replaced)
                    results[at] = UpsertResult(len(rows) - len(replaced), len(replaced))
                transaction.add_fields(new)
            types = {**view.types, **new}
            gone = np.array(sorted(dead), dtype=np.int64)
            self._publish(
                view,
                segments=[v.without(gone) for v in view.segments],
                # A later group may have replaced what an earlier one wrote.
                head=view.head.without(gone).added(
                    [row for row in added if row.number not in dead], types
                ),
                types=types,
                n_documents=transaction.next.n_documents,
                generation=transaction.next.generation,
            )
        self._call_maintenance()
        return results

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete the documents of those ids that live; return how many.

        Raises
        ------
        StorageError
            If the disk is full or refuses: nothing was deleted.
        """
        with self._writing:
            n_dead = self._delete(list(dict.fromkeys(doc_ids)))
        self._call_maintenance()
        return n_dead

    def delete_where(self, filter: Any) -> int:
        """Delete the documents that pass a filter, in one transaction; return how many."""
        with self._writing:
            n_dead = self._delete(list(self._view.doc_ids(filter)))
        self._call_maintenance()
        return n_dead

    def _delete(self, doc_ids: list[str]) -> int:
        self._require_writable()
        view = self._view
        with self._store.write() as transaction:
            dead = transaction.remove(doc_ids)
        gone = np.sort(np.array(dead, dtype=np.int64))
        self._publish(
            view,
            segments=[v.without(gone) for v in view.segments],
            head=view.head.without(gone),
            n_documents=transaction.next.n_documents,
            generation=transaction.next.generation,
        )
        return len(dead)

    def load(
        self,
        batches: Iterable[Batch | tuple[Sequence[Document], SparseMatrix]],
        *,
        on_batch: Callable[[int], None] | None = None,
    ) -> UpsertResult:
        """Load many documents straight into segments, one a batch; raises as `upsert` does.

        A batch is one transaction: acknowledged (`on_batch` is told its size), or not there at
        all. A load that was cut off can be run again: what is there already is replaced.
        """
        added = replaced = 0
        for batch in batches:
            result = self._load_batch(Batch(*batch))
            added += result.n_added
            replaced += result.n_replaced
            if on_batch is not None:
                on_batch(len(batch[0]))
            self._call_maintenance()
        return UpsertResult(added, replaced)

    def _load_batch(self, batch: Batch) -> UpsertResult:
        rows = checked_rows(batch, self.widths)
        with self._maintaining:
            # Segments lie in number order: what is in the head comes before the batch.
            while True:
                self.seal()
                with self._writing:
                    view = self._view
                    if view.head.last_number <= view.sealed:
                        first, values, types = self._reserve(rows, view)
                        break
            segment_rows = (row.numbered(first + at, values[at]) for at, row in enumerate(rows))
            made = build_segment(
                self._segments_folder,
                segment_rows,
                self.config,
                types,
                widths=self.widths,
                n_threads=self._n_threads,
            )
            if made is None:
                return UpsertResult(0, 0)
            segment = Segment.open(self._segments_folder / made.name, made)
            with self._writing:
                view = self._view
                with self._store.write() as transaction:
                    dead = transaction.remove([row.document.doc_id for row in rows])
                    transaction.insert((row.stored for row in rows), first)
                    transaction.replace_segments([], made)
                gone = np.sort(np.array(dead, dtype=np.int64))
                views = [*(v.without(gone) for v in view.segments), SegmentView.whole(segment)]
                self._publish(
                    view,
                    segments=views,
                    head=view.head.without(gone),
                    n_documents=transaction.next.n_documents,
                    generation=transaction.next.generation,
                    structure=transaction.next.structure,
                )
        return UpsertResult(len(rows) - len(dead), len(dead))

    def _reserve(
        self, rows: Sequence[CheckedRow], view: CollectionView
    ) -> tuple[int, list[FieldValues], Mapping[str, str]]:
        """Take numbers for `rows` and fix the types of their new fields, in one transaction."""
        values, new = values_of(rows, view.types)
        with self._store.write() as transaction:
            first = transaction.next.next_number
            transaction.reserve(first + len(rows))
            transaction.add_fields(new)
        types = {**view.types, **new}
        self._publish(view, types=types, generation=transaction.next.generation)
        return first, values, types

    def close(self) -> None:
        """Stop maintenance, move the log into the database, let the lock go."""
        self._closing = True
        if self._worker is not None:
            with self._work:
                self._work.notify_all()
            self._worker.join()
            self._worker = None
        if self._lock is not None:
            try:
                self.checkpoint()
            except StorageError as error:
                logger.warning("%s", error)
            self.sweep()
        self._store.close()
        if self._lock is not None:
            try:
                note_store(self.path / STORE_NAME)
            except StorageError as error:
                logger.warning("%s", error)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Forgotten, not closed: nothing is lost, but the lock must go.
        lock: int | None = getattr(self, "_lock", None)
        if lock is not None:
            self._store.close()
            os.close(lock)


def _described(dense: DenseTextEncoder | int) -> dict[str, Any]:
    """Return what the manifest keeps of a dense half."""
    if isinstance(dense, int):
        return {"width": dense, "encoder": None, "fingerprint": None}
    return {"width": dense.width, "encoder": dense.name, "fingerprint": dense.fingerprint}
