"""Keeping a live collection in shape: the half of `Collection` that seals, merges and sweeps.

In the background or within the writes that call for it; searches are never held up, writes only
for the exchange of a segment, and when the head has grown several times too large.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Condition, RLock, Thread
from typing import Any, TypeVar

from indexing.collection_maintenance import (
    SegmentSize,
    build_range,
    fold_tombstones,
    plan_merge,
    replace_range,
    sweep,
)
from indexing.collection_reader import CollectionReader
from indexing.collection_segment import Segment
from indexing.collection_view import CollectionView
from indexing.live_checks import note_store
from indexing.live_store import STORE_NAME
from indexing.live_transactions import ReadTransaction
from lsr.core.errors import ArgumentError, StorageError
from lsr.core.manifest import Manifest

__all__ = ["CollectionKeeper"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Bytes of log before it is moved into the database.
_CHECKPOINT_AT = 8 << 20
# Heads this many times too full hold up writers until sealing has caught up.
_OVERFULL = 4
# Before maintenance that failed, or that was held up by a reader, is tried again.
_RETRY_S = 2.0


class CollectionKeeper(CollectionReader):
    """A collection that can be kept in shape; see `indexing.collection.Collection`.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    lock : int or None
        Handle of the writer's lock, which this object lets go; None to read only.
    background : bool
        Seal and merge in a thread of its own.
    n_threads : int, optional
        Of segment builds.
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
        super().__init__(path, manifest, writable=lock is not None)
        self._n_threads = n_threads
        # Taken in this order: maintaining, then writing.
        self._maintaining = RLock()
        self._writing = RLock()
        self._work = Condition()
        self._closing = False
        self._lock = lock
        self._worker: Thread | None = None
        if background and self.writable:
            self._worker = Thread(target=self._run, name="lsr-maintenance", daemon=True)
            self._worker.start()

    def _at_rest(self, use: Callable[[CollectionView, ReadTransaction], T]) -> T:
        if not self.writable:
            return super()._at_rest(use)
        # Between the end of a transaction and its publication the store is ahead of the view.
        with self._writing, self._store.read() as look:
            return use(self._view, look)

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

    def _rebuild(self, first: int, last: int, old: list[str]) -> bool:
        """Build the segment of a range and put it in the place of the segments named `old`."""
        row = build_range(
            self._store,
            self._segments_folder,
            first,
            last,
            self.config,
            self._view.types,
            widths=self.widths,
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

    def _require_room(self) -> None:
        """Check that the head may grow: it may not where sealing has failed for long."""
        if self._trouble and self._view.head.n_rows > 2 * _OVERFULL * self.config.seal_at:
            raise StorageError(
                f"The head of {self.path} is full and cannot be sealed: {self._trouble}",
                hint="Free some space; sealing is tried again by itself.",
            )
