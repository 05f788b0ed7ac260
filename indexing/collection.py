"""A live collection: documents come, change and go, and every search sees the latest state.

::

    manifest.json      kind "collection", vocabulary fingerprint, config, checksums
    vocabulary.json
    query_encoder/     the query side of the encoder, where there is one
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

import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Lock, RLock, Thread
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from indexing.collection_config import CollectionConfig
from indexing.collection_head import Head, HeadRow
from indexing.collection_maintenance import (
    SegmentSize,
    build_range,
    fold_tombstones,
    head_rows,
    plan_merge,
    replace_range,
    sweep,
)
from indexing.collection_segment import Segment, SegmentView, build_segment
from indexing.collection_view import CollectionResult, CollectionView
from indexing.explain import Explanation, explain
from indexing.filters_fields import FieldValues, field_values
from indexing.live_checks import file_digest, note_store, require_store
from indexing.live_store import (
    STORE_NAME,
    LiveStore,
    PreparedDocument,
    ReadTransaction,
    create_store,
    prepare,
)
from indexing.storage import QUERY_ENCODER_FOLDER, layout_class
from indexing.threads import resolve_threads, run_parallel
from lsr.core.artifact import (
    MANIFEST_NAME,
    ArtifactWriter,
    read_manifest,
    replace_folder,
    storage_errors,
    verify_artifact,
)
from lsr.core.config import config_hash
from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    ArtifactExistsError,
    ArtifactNotFoundError,
    CollectionLockedError,
    DataError,
    DocumentNotFoundError,
    LsrError,
    StorageError,
)
from lsr.core.manifest import Manifest
from lsr.core.records import Document
from lsr.core.sparse import Int64Array, SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary

__all__ = ["COLLECTION_FORMAT", "SEGMENTS_FOLDER", "Collection", "UpsertResult"]

logger = logging.getLogger(__name__)

COLLECTION_FORMAT = 1
SEGMENTS_FOLDER = "segments"
LOCK_NAME = "writer.lock"
# Bytes of log before it is moved into the database.
_CHECKPOINT_AT = 8 << 20
# Heads this many times too full hold up writers until sealing has caught up.
_OVERFULL = 4
# Documents that vanish between the search and the look-up: search again this often.
_ATTEMPTS = 5
# Before maintenance that failed, or that was held up by a reader, is tried again.
_RETRY_S = 2.0
_LOCK_PATIENCE_S = 1.0
_LARGEST = 2**63 - 1


class UpsertResult(NamedTuple):
    """How many documents a write added, and how many it replaced."""

    n_added: int
    n_replaced: int


class _CheckedRow(NamedTuple):
    """A document that may be written."""

    document: Document
    vector: SparseVector
    stored: PreparedDocument


class Collection:
    """An open live collection; made by `create` or `open`, closed by `close` or ``with``.

    Every method may be called from many threads at once.

    Attributes
    ----------
    path : Path
    manifest : Manifest
        ``details`` holds ``vocabulary_size``, ``vocabulary_fingerprint``, ``encoder``, ``idf``.
    config : CollectionConfig
    vocabulary : Vocabulary
    writable : bool
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        *,
        lock: int | None,
        background: bool,
        n_threads: int | None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.config = CollectionConfig.model_validate(manifest.config)
        self.vocabulary = Vocabulary.load(path / "vocabulary.json")
        self.writable = lock is not None
        self._lock = lock
        self._n_threads = n_threads
        self._segments_folder = path / SEGMENTS_FOLDER
        self._store = LiveStore(path / STORE_NAME, len(self.vocabulary), writable=self.writable)
        # Order of locks: maintenance, then writing, then refreshing.
        self._maintaining = RLock()
        self._writing = RLock()
        self._refreshing = Lock()
        self._work = Condition()
        self._closing = False
        self._trouble: Exception | None = None
        self._version = -1
        try:
            self._view = self._load(None)
        except BaseException:
            self._store.close()
            raise
        self._worker: Thread | None = None
        if background and self.writable:
            self._worker = Thread(target=self._run, name="lsr-maintenance", daemon=True)
            self._worker.start()

    # --- making and opening --------------------------------------------------------------

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
        manifest = Manifest.new(
            "collection",
            COLLECTION_FORMAT,
            details={
                "vocabulary_size": len(vocabulary),
                "vocabulary_fingerprint": vocabulary.fingerprint,
                "encoder": encoder,
                "idf": idf,
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
                writer.finish(manifest)
                create_store(temporary / STORE_NAME, file_digest(temporary / MANIFEST_NAME))
                note_store(temporary / STORE_NAME)
                (temporary / SEGMENTS_FOLDER).mkdir()
                (temporary / LOCK_NAME).touch()
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
        manifest = read_manifest(path, kind="collection", format_version=COLLECTION_FORMAT)
        problems = verify_artifact(path, manifest)
        if problems:
            raise ArtifactCorruptedError(
                f"{path} is damaged: {'; '.join(problems)}.",
                hint="Restore it from a snapshot (lsr index restore).",
            )
        with locked(path, exclusive=mode == "w") as lock:
            if lock is not None:
                require_store(path / STORE_NAME, int(manifest.details["vocabulary_size"]))
            made = cls(
                path,
                manifest,
                lock=os.dup(lock) if lock is not None and mode == "w" else None,
                background=background,
                n_threads=n_threads,
            )
        if made.writable:
            made.sweep()
        return made

    def _load(self, old: CollectionView | None) -> CollectionView:
        """Return the view of the latest generation; what `old` has open is used again."""
        missing: LsrError | None = None
        for _ in range(_ATTEMPTS):
            with self._store.read() as look:
                try:
                    return self._look(look, old)
                except ArtifactNotFoundError as error:
                    # Merged away between our look at the store and our look at the folder?
                    missing = error
        assert missing is not None
        raise missing

    def _look(self, look: ReadTransaction, old: CollectionView | None) -> CollectionView:
        state = look.state()
        if old is None and look.manifest_sha256() != file_digest(self.path / MANIFEST_NAME):
            raise ArtifactCorruptedError(
                f"{self.path / MANIFEST_NAME} was changed.",
                hint="Restore the collection from a snapshot (lsr index restore).",
            )
        types = {**self.config.fields, **look.fields()}
        if old is not None and old.structure == state.structure:
            gone = look.tombstones_since(old.generation)
            views = [view.without(gone) for view in old.segments]
        else:
            views = self._open_segments(look, old)
        sealed = views[-1].segment.row.last if views else -1
        head = Head(len(self.vocabulary))
        if old is not None:
            head = old.head.without(look.tombstones_since(old.generation)).beyond(sealed, types)
        known = max(sealed, old.head.last_number if old is not None else -1)
        head = head.added(list(head_rows(look, known + 1, _LARGEST, types)), types)
        view = CollectionView(
            generation=state.generation,
            structure=state.structure,
            segments=views,
            head=head,
            types=types,
            n_documents=state.n_documents,
            vocabulary_size=len(self.vocabulary),
        )
        n_seen = sum(v.n_alive for v in views) + head.n_documents
        if n_seen != state.n_documents:
            raise ArtifactCorruptedError(
                f"{self.path}: segments and head hold {n_seen} documents, the store "
                f"{state.n_documents}.",
                hint="Build the segments again from the store: lsr index repair.",
            )
        return view

    def _open_segments(
        self, look: ReadTransaction, old: CollectionView | None
    ) -> list[SegmentView]:
        opened = {v.segment.row.name: v.segment for v in old.segments} if old is not None else {}
        views = []
        for row in look.segments():
            segment = opened.get(row.name) or Segment.open(self._segments_folder / row.name, row)
            views.append(SegmentView.of(segment, row, look.tombstones(row.first, row.last)))
        return views

    # --- reading ----------------------------------------------------------------------------

    def view(self) -> CollectionView:
        """Return the latest generation; it stays as it is while others write."""
        if self.writable:
            return self._view
        version = self._store.version()
        # Whoever comes while another thread takes over the news uses what is there.
        if version != self._version and self._refreshing.acquire(blocking=False):
            try:
                view = self._load(self._view)
                self._view, self._version = view, version
            finally:
                self._refreshing.release()
        return self._view

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,  # noqa: A002
        with_documents: bool = False,
    ) -> CollectionResult:
        """Return the best `k` documents: score descending, then in the order they were written.

        Parameters
        ----------
        query : SparseVector
            An empty query has an empty result.
        k : int
            1 to `indexing.base.MAX_K`.
        params : optional
            Search parameters of the segments' layout.
        filter : optional
            JSON (text or objects) in the filter language, or a parsed filter
            (`indexing.filters_language`).
        with_documents : bool
            Fetch the documents too.

        Raises
        ------
        ArgumentError, VocabularyMismatchError
            If `k`, `params` or the query break their rules.
        FilterError
            If the filter does, or names an unknown field.
        """
        for _ in range(_ATTEMPTS):
            view = self.view()
            view.check_params(params, self.config.index.layout.kind)
            found = view.search(query, k, params=params, filter=filter)
            if not with_documents:
                return found
            documents = self._documents(found.numbers)
            if len(documents) == len(found):
                break
            # One was replaced since: a newer view has what replaced it.
        kept = [at for at, number in enumerate(found.numbers.tolist()) if number in documents]
        return CollectionResult(
            found.numbers[kept],
            [found.doc_ids[at] for at in kept],
            found.scores[kept],
            [documents[number] for number in found.numbers[kept].tolist()],
        )

    def _documents(self, numbers: Int64Array) -> dict[int, Document]:
        with self._store.read() as look:
            return look.documents(numbers.tolist())

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        params: Any | None = None,
        filter: Any | None = None,  # noqa: A002
        n_threads: int | None = None,
    ) -> list[CollectionResult]:
        """Return the best `k` documents of every query, all of one generation."""
        view = self.view()
        view.check_params(params, self.config.index.layout.kind)
        found: list[CollectionResult | None] = [None] * queries.n_rows

        def run(at: int) -> None:
            found[at] = view.search(queries.row(at), k, params=params, filter=filter)

        run_parallel(run, queries.n_rows, resolve_threads(n_threads))
        return [result for result in found if result is not None]

    def document(self, doc_id: str) -> Document:
        """Return a document.

        Raises
        ------
        DocumentNotFoundError
            If none of this id lives.
        """
        with self._store.read() as look:
            number = self._number(look, doc_id)
            return look.documents([number])[number]

    def documents(self, doc_ids: Sequence[str]) -> list[Document | None]:
        """Return the documents of `doc_ids`, in that order; None where none lives."""
        with self._store.read() as look:
            numbers = look.numbers(list(doc_ids))
            found = look.documents(list(numbers.values()))
        return [found[numbers[d]] if d in numbers else None for d in doc_ids]

    def vector(self, doc_id: str) -> SparseVector:
        """Return a document's vector as it was written.

        Raises
        ------
        DocumentNotFoundError
            If none of this id lives.
        """
        with self._store.read() as look:
            vector = look.vector(self._number(look, doc_id))
        assert vector is not None, "documents and vectors change in one transaction"
        return vector

    def _number(self, look: ReadTransaction, doc_id: str) -> int:
        number = look.numbers([doc_id]).get(doc_id)
        if number is None:
            raise DocumentNotFoundError(
                f"The collection {self.path.name!r} has no document {doc_id!r}.",
                hint="Identifiers are exact: case, spaces and punctuation count.",
            )
        return number

    def explain(self, query: SparseVector, doc_id: str) -> Explanation:
        """Return what each term gives to the score of a document, found or not; its row is 0."""
        return explain(_OneVector(self.vector(doc_id)), query, 0, self.vocabulary)

    def doc_ids(self, filter: Any | None = None) -> Iterator[str]:  # noqa: A002
        """Yield the ids of the documents that pass `filter`, in the order they were written."""
        return self.view().doc_ids(filter)

    def count(self, filter: Any | None = None) -> int:  # noqa: A002
        """Return how many documents pass `filter`."""
        return self.view().count(filter)

    @property
    def n_documents(self) -> int:
        """Number of live documents."""
        return self.view().n_documents

    @property
    def vocabulary_size(self) -> int:
        """Number of columns of the vectors."""
        return len(self.vocabulary)

    @property
    def fields(self) -> dict[str, str]:
        """Types of the metadata fields by name."""
        return dict(self.view().types)

    @property
    def query_encoder_path(self) -> Path | None:
        """Folder of the query side, or None where there is none."""
        path = self.path / QUERY_ENCODER_FOLDER
        return path if path.is_dir() else None

    def __len__(self) -> int:
        return self.n_documents

    def __contains__(self, doc_id: object) -> bool:
        with self._store.read() as look:
            return isinstance(doc_id, str) and bool(look.numbers([doc_id]))

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes: documents, head, segments, log."""
        view = self.view()
        return {
            "n_documents": view.n_documents,
            "generation": view.generation,
            "head_documents": view.head.n_documents,
            "segments": [
                {
                    "name": v.segment.row.name,
                    "n_rows": v.segment.n_rows,
                    "n_alive": v.n_alive,
                    "bytes": sum(v.segment.index.bytes_by_part().values()),
                }
                for v in view.segments
            ],
            "store_bytes": (self.path / STORE_NAME).stat().st_size,
            "log_bytes": self._store.log_bytes,
            "trouble": str(self._trouble) if self._trouble else None,
        }

    # --- writing ----------------------------------------------------------------------------

    def upsert(
        self, documents: Sequence[Document], vectors: SparseMatrix | Sequence[SparseVector]
    ) -> UpsertResult:
        """Add documents, or replace those of the same id: all of them, durably, or none.

        They are searchable when the call returns. Of two with one id the later counts.

        Raises
        ------
        DataError, WeightError
            If a document or its vector breaks a rule; see also `indexing.filters_fields`.
        StorageError
            If the disk is full or refuses: nothing was written.
        """
        rows = self._checked(documents, vectors)
        with self._writing:
            self._require_writable()
            view = self._view
            new: dict[str, str] = {}
            values = [
                field_values(row.document.doc_id, row.document.metadata, view.types, new)
                for row in rows
            ]
            types = {**view.types, **new}
            with self._store.write() as transaction:
                dead = transaction.remove([row.document.doc_id for row in rows])
                first = transaction.next.next_number
                transaction.insert((row.stored for row in rows), first)
                transaction.add_fields(new)
            added = [
                HeadRow(first + at, row.document.doc_id, values[at], row.vector)
                for at, row in enumerate(rows)
            ]
            gone = np.sort(np.array(dead, dtype=np.int64))
            self._publish(
                view,
                segments=[v.without(gone) for v in view.segments],
                head=view.head.without(gone).added(added, types),
                types=types,
                n_documents=transaction.next.n_documents,
                generation=transaction.next.generation,
            )
        self._call_maintenance()
        return UpsertResult(len(rows) - len(dead), len(dead))

    def _checked(
        self, documents: Sequence[Document], vectors: SparseMatrix | Sequence[SparseVector]
    ) -> list[_CheckedRow]:
        """Return the rows of a write in stored form; of two with one id the later."""
        if len(vectors) != len(documents):
            raise DataError(f"{len(documents)} documents but {len(vectors)} vectors.")
        if not isinstance(vectors, SparseMatrix):
            vectors = SparseMatrix.from_rows(vectors, self.vocabulary_size)
        if vectors.size != self.vocabulary_size:
            raise DataError(
                f"The vectors have {vectors.size} columns, the collection {self.vocabulary_size}."
            )
        vectors.check()
        last = {document.doc_id: at for at, document in enumerate(documents)}
        rows = []
        for at in sorted(last.values()):
            vector = vectors.row(at)
            rows.append(_CheckedRow(documents[at], vector, prepare(documents[at], vector)))
        return rows

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

    def delete_where(self, filter: Any) -> int:  # noqa: A002
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

    def _publish(self, view: CollectionView, **changes: Any) -> None:
        """Let searches that start from now on see what a transaction changed."""
        state: dict[str, Any] = {
            "generation": view.generation,
            "structure": view.structure,
            "segments": view.segments,
            "head": view.head,
            "types": view.types,
            "n_documents": view.n_documents,
            "vocabulary_size": view.vocabulary_size,
        }
        self._view = CollectionView(**(state | changes))

    def _require_writable(self) -> None:
        if not self.writable or self._closing:
            raise ArgumentError(
                f"The collection {self.path} is not open for writing.",
                hint="Open it with mode='w'.",
            )
        if self._trouble and self._view.head.n_rows > 2 * _OVERFULL * self.config.seal_at:
            raise StorageError(
                f"The head of {self.path} is full and cannot be sealed: {self._trouble}",
                hint="Free some space; sealing is tried again by itself.",
            )

    # --- maintenance ------------------------------------------------------------------------

    def seal(self) -> bool:
        """Seal the head into a segment; return whether there was anything to seal."""
        with self._maintaining:
            with self._writing:
                self._require_writable()
                first, last = self._view.sealed + 1, self._view.head.last_number
            return last >= first and self._rebuild(first, last, [])

    def merge(self) -> bool:
        """Seal the head and make one segment of all; return whether anything had to be done."""
        with self._maintaining:
            done = self.seal()
            sizes = self._sizes()
            if len(sizes) > 1 or any(size.n_alive < size.n_rows for size in sizes):
                done |= self._merge(0, len(sizes))
            return done

    def _merge(self, first: int, end: int) -> bool:
        chosen = [v.segment.row for v in self._view.segments[first:end]]
        return self._rebuild(chosen[0].first, chosen[-1].last, [row.name for row in chosen])

    def rebuild(self, names: Sequence[str] | None = None) -> int:
        """Build segments again from the store, all or those of `names`; return how many."""
        with self._maintaining:
            rows = [v.segment.row for v in self._view.segments]
            for row in rows:
                if names is None or row.name in names:
                    self._rebuild(row.first, row.last, [row.name])
            return len(rows) if names is None else len(names)

    def _rebuild(self, first: int, last: int, old: list[str]) -> bool:
        """Build the segment of a range and put it in the place of the segments named `old`."""
        row = build_range(
            self._store,
            self._segments_folder,
            first,
            last,
            self.config,
            self._view.types,
            vocabulary_size=self.vocabulary_size,
            n_threads=self._n_threads,
        )
        segment = Segment.open(self._segments_folder / row.name, row) if row is not None else None
        with self._writing:
            view = self._view
            if segment is None and not old:
                # All of the head has died: its tombstones stay for those who still show it.
                self._publish(view, head=view.head.beyond(last, view.types))
                return True
            made = replace_range(self._store, old, segment, first, last)
            kept = [v for v in view.segments if v.segment.row.name not in old]
            views = sorted(
                [*kept, *([made] if made is not None else [])], key=lambda v: v.segment.row.first
            )
            with self._store.read() as look:
                state = look.state()
            self._publish(
                view,
                segments=views,
                head=view.head.beyond(last, view.types) if not old else view.head,
                generation=state.generation,
                structure=state.structure,
            )
        del view, kept
        self.sweep()
        return True

    def sweep(self) -> list[str]:
        """Remove the folders of segments that are replaced and that nobody reads any more."""
        with self._maintaining:
            used = {v.segment.row.name for v in self._view.segments}
            return sweep(self._segments_folder, used)

    def maintain(self) -> None:
        """Do what is due: seal a full head, merge, fold tombstones, move the log."""
        with self._maintaining:
            if self._view.head.n_rows >= self.config.seal_at:
                self.seal()
            while (plan := plan_merge(self._sizes(), self.config)) is not None:
                self._merge(*plan)
            with self._writing:
                if fold_tombstones(self._store, self._view.segments):
                    self._view = self._load(self._view)
            if self._store.log_bytes >= _CHECKPOINT_AT:
                self.checkpoint()
            self.sweep()

    def _sizes(self) -> list[SegmentSize]:
        return [SegmentSize(v.segment.n_rows, v.n_alive) for v in self._view.segments]

    def checkpoint(self) -> bool:
        """Move the store's log into its database; return whether nobody was in the way."""
        with self._writing:
            done = self._store.checkpoint()
            note_store(self.path / STORE_NAME)
            return done

    def _due(self) -> bool:
        return (
            self._view.head.n_rows >= self.config.seal_at
            or self._store.log_bytes >= _CHECKPOINT_AT
            or plan_merge(self._sizes(), self.config) is not None
        )

    def _call_maintenance(self) -> None:
        if self._worker is None:
            if self._due():
                self.maintain()
            return
        with self._work:
            self._work.notify_all()
            # Back-pressure: reads of an ever larger head would slow down.
            while (
                self._view.head.n_rows > _OVERFULL * self.config.seal_at
                and self._trouble is None
                and not self._closing
            ):
                self._work.wait(0.5)

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._closing and not self._due():
                    self._work.wait(5.0)
                if self._closing:
                    return
            try:
                self.maintain()
                self._trouble = None
            except Exception as error:
                # Nothing is lost: the store has every document. Tried again after a while.
                logger.exception("Maintenance of %s failed.", self.path)
                self._trouble = error
            with self._work:
                self._work.notify_all()
                if self._trouble is not None or self._due():
                    self._work.wait(_RETRY_S)

    def wait(self) -> None:
        """Wait until no maintenance is due; raises what the last attempt met."""
        if self._worker is None:
            return
        with self._work:
            self._work.notify_all()
            while self._due() and self._trouble is None and not self._closing:
                self._work.wait(0.1)
        if self._trouble is not None:
            raise self._trouble
        with self._maintaining:
            return

    def load(
        self,
        batches: Iterable[tuple[Sequence[Document], SparseMatrix]],
        *,
        on_batch: Callable[[int], None] | None = None,
    ) -> UpsertResult:
        """Load many documents straight into segments, one a batch; raises as `upsert` does.

        A batch is one transaction: acknowledged (`on_batch` is told its size), or not there at
        all. A load that was cut off can be run again: what is there already is replaced.
        """
        added = replaced = 0
        for documents, vectors in batches:
            result = self._load_batch(documents, vectors)
            added += result.n_added
            replaced += result.n_replaced
            if on_batch is not None:
                on_batch(len(documents))
            self._call_maintenance()
        return UpsertResult(added, replaced)

    def _load_batch(self, documents: Sequence[Document], vectors: SparseMatrix) -> UpsertResult:
        rows = self._checked(documents, vectors)
        with self._maintaining:
            # Segments lie in number order: what is in the head comes before the batch.
            while True:
                self.seal()
                with self._writing:
                    view = self._view
                    if view.head.last_number <= view.sealed:
                        first, values, types = self._reserve(rows, view)
                        break
            segment_rows = (
                HeadRow(first + at, row.document.doc_id, values[at], row.vector)
                for at, row in enumerate(rows)
            )
            made = build_segment(
                self._segments_folder,
                segment_rows,
                self.config.index,
                types,
                vocabulary_size=self.vocabulary_size,
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
        self, rows: Sequence[_CheckedRow], view: CollectionView
    ) -> tuple[int, list[FieldValues], Mapping[str, str]]:
        """Take numbers for `rows` and fix the types of their new fields, in one transaction."""
        new: dict[str, str] = {}
        values = [
            field_values(row.document.doc_id, row.document.metadata, view.types, new)
            for row in rows
        ]
        with self._store.write() as transaction:
            first = transaction.next.next_number
            transaction.reserve(first + len(rows))
            transaction.add_fields(new)
        types = {**view.types, **new}
        self._publish(view, types=types, generation=transaction.next.generation)
        return first, values, types

    # --- closing ----------------------------------------------------------------------------

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
        if getattr(self, "_lock", None) is not None or hasattr(self, "_store"):
            self._closing = True
            self._store.close()
            if self._lock is not None:
                os.close(self._lock)


class _OneVector:
    """A single vector as an index, for `indexing.explain`."""

    n_documents = 1

    def __init__(self, vector: SparseVector) -> None:
        self._vector = vector
        self.vocabulary_size = vector.size

    def document(self, row: int) -> SparseVector:
        return self._vector


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[int | None]:
    """Hold the lock of the collection at `path` while the block opens it.

    Gives the lock's handle; None to a reader while somebody writes.

    Raises
    ------
    CollectionLockedError
        If `exclusive` is asked for and another process writes, or is opening it.
    """
    handle = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    # A reader that is just opening holds it for a moment.
    patience = time.monotonic() + (_LOCK_PATIENCE_S if exclusive else 0.0)
    try:
        while True:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < patience:
                    time.sleep(0.02)
                    continue
                if exclusive:
                    raise CollectionLockedError(
                        f"Another process writes to {path}.",
                        hint="One process writes at a time; others may read.",
                    ) from None
                yield None
                return
            yield handle
            return
    finally:
        os.close(handle)
