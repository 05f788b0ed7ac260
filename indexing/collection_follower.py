"""Following a live collection: the view of its latest generation, whoever writes.

A reader asks the store at every search whether there is a newer generation (microseconds) and takes
over only what changed: new rows of the head, new tombstones, new segments.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from indexing.collection_config import CollectionConfig
from indexing.collection_head import Head
from indexing.collection_maintenance import head_rows
from indexing.collection_segment import Segment, SegmentView
from indexing.collection_view import CollectionView
from indexing.live_rows import Widths
from indexing.live_store import STORE_NAME, LiveStore
from indexing.live_transactions import ReadTransaction
from indexing.storage import QUERY_ENCODER_FOLDER
from lsr.core.errors import ArtifactCorruptedError, ArtifactNotFoundError
from lsr.core.manifest import Manifest
from lsr.core.vocabulary import Vocabulary

__all__ = ["DENSE_ENCODER_FOLDER", "SEGMENTS_FOLDER", "CollectionFollower"]

SEGMENTS_FOLDER = "segments"
DENSE_ENCODER_FOLDER = "dense_encoder"
T = TypeVar("T")
_LARGEST = 2**63 - 1


class CollectionFollower:
    """An open collection: its files, and the view of the latest generation.

    Attributes
    ----------
    path : Path
    manifest : Manifest
        ``details`` holds ``vocabulary_size``, ``vocabulary_fingerprint``, ``encoder``, ``idf``,
        and ``dense`` where there is a dense half: ``width``, ``encoder``, ``fingerprint``.
    config : CollectionConfig
    vocabulary : Vocabulary
    widths : Widths
        Of the vectors, sparse and dense.
    writable : bool
    """

    def __init__(self, path: Path, manifest: Manifest, *, writable: bool) -> None:
        self.path = path
        self.manifest = manifest
        self.config = CollectionConfig.model_validate(manifest.config)
        self.vocabulary = Vocabulary.load(path / "vocabulary.json")
        self.widths = Widths.of(manifest)
        self.writable = writable
        self._segments_folder = path / SEGMENTS_FOLDER
        self._store = LiveStore(path / STORE_NAME, self.widths, writable=writable)
        self._refreshing = Lock()
        self._version = -1
        self._trouble: Exception | None = None
        try:
            self._view = self._load(None)
        except BaseException:
            self._store.close()
            raise

    def _load(self, old: CollectionView | None) -> CollectionView:
        """Return the view of the latest generation; what `old` has open is used again."""
        return self._loaded(old, lambda view, look: view)

    def _loaded(
        self, old: CollectionView | None, use: Callable[[CollectionView, ReadTransaction], T]
    ) -> T:
        """Return ``use(view, look)`` for the latest generation and a look at exactly that one."""
        missing_in = -1
        while True:
            with self._store.read() as look:
                structure = look.state().structure
                try:
                    view = self._look(look, old)
                except ArtifactNotFoundError:
                    # Merged away between our look at the store and our look at the folder; twice
                    # in one structure it is truly not there.
                    if structure == missing_in:
                        raise
                    missing_in = structure
                    continue
                return use(view, look)

    def _at_rest(self, use: Callable[[CollectionView, ReadTransaction], T]) -> T:
        """Return ``use(view, look)`` where store and view are of one generation for certain."""
        with self._refreshing:
            return self._loaded(self._view, use)

    def _look(self, look: ReadTransaction, old: CollectionView | None) -> CollectionView:
        state = look.state()
        types = {**self.config.fields, **look.fields()}
        head = Head(len(self.vocabulary))
        if old is not None and old.structure == state.structure:
            gone = look.tombstones_since(old.generation)
            views = [view.without(gone) for view in old.segments]
            sealed = old.sealed
            head = old.head.without(gone)
        else:
            views = self._open_segments(look, old)
            sealed = views[-1].segment.row.last if views else -1
            if old is not None:
                head = _living(old.head.beyond(sealed, types), look)
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

    def view(self) -> CollectionView:
        """Return the latest generation; it stays as it is while others write."""
        if self.writable:
            return self._view
        if self._store.version() != self._version:
            # Whoever comes while another thread takes over the news waits for it: a write that
            # was acknowledged before this call must be seen by it.
            with self._refreshing:
                version = self._store.version()
                if version != self._version:
                    self._view = self._load(self._view)
                    self._version = version
        return self._view

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

    @property
    def dense_encoder_path(self) -> Path | None:
        """Folder of the dense half's bi-encoder, or None where there is none."""
        path = self.path / DENSE_ENCODER_FOLDER
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
                    "layout": v.segment.index.kind,
                    "n_rows": v.segment.n_rows,
                    "n_alive": v.n_alive,
                    "bytes": v.segment.n_bytes,
                }
                for v in view.segments
            ],
            "store_bytes": (self.path / STORE_NAME).stat().st_size,
            "log_bytes": self._store.log_bytes,
            "trouble": str(self._trouble) if self._trouble else None,
        }


def _living(head: Head, look: ReadTransaction) -> Head:
    """Return an older head without what has died since.

    Tombstones do not tell it: rows of the head may have been sealed, have died, and their segment
    have been merged away to nothing, its tombstones with it, before this reader looked again.
    """
    if not head.parts:
        return head
    numbers = np.concatenate([part.numbers for part in head.parts])
    alive = look.live_numbers(int(numbers[0]), int(numbers[-1]))
    return head.without(np.setdiff1d(numbers, alive, assume_unique=True))
