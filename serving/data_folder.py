"""The folder of what a service was told to keep: collections made over HTTP, and snapshots.

::

    DIR/
      collections/NAME/           live collections (`indexing.collection`)
      snapshots/NAME/SNAPSHOT/    copies of them (`indexing.collection_copies`)
      writer.lock                 held by the one service that writes

Names are checked by one pattern that no path fits, before they meet the file system. A deletion is
a rename and then the removal of what was renamed, so a crash leaves the whole collection or none.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

from indexing.live_lock import locked
from lsr.core.artifact import MANIFEST_NAME, storage_errors, sync
from lsr.core.errors import RequestError, SnapshotNotFoundError, near_names

__all__ = ["NAME_PATTERN", "DataFolder", "check_name"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_NAME = re.compile(NAME_PATTERN)


def check_name(name: str, what: str) -> str:
    """Return `name` if it may name a folder of ours.

    Raises
    ------
    RequestError
        If it may not.
    """
    # fullmatch: `$` alone would let a line feed pass.
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"{what}: a name has 1 to 64 letters, digits, '.', '_' or '-' and begins with a letter "
            f"or a digit (got {name[:80]!r})"
        )
    return name


class DataFolder:
    """An open data folder.

    Parameters
    ----------
    path : Path
        Made where it is not there.
    writable : bool
        Take the lock: one service writes.

    Raises
    ------
    CollectionLockedError
        If another service writes to it and so would this one.
    StorageError
        If the disk refuses.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = Path(path)
        self._collections = self.path / "collections"
        self._snapshots = self.path / "snapshots"
        self._lock: int | None = None
        with storage_errors(self.path, "data folder"):
            self._collections.mkdir(parents=True, exist_ok=True)
            self._snapshots.mkdir(exist_ok=True)
        if writable:
            with locked(self.path, exclusive=True) as lock:
                assert lock is not None, "an exclusive lock is held or refused"
                self._lock = os.dup(lock)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what a killed service left half made or half deleted."""
        for folder in (self._collections, self._snapshots):
            for left in [*folder.glob(".*"), *folder.glob("*/.*.tmp")]:
                # Never `.old`: whoever was replaced last might be the only whole copy.
                if left.is_dir() and left.suffix in (".tmp", ".deleted"):
                    shutil.rmtree(left, ignore_errors=True)

    def stamp(self) -> int:
        """Return a number that changes when a collection comes or goes."""
        return self._collections.stat().st_mtime_ns

    def collections(self) -> dict[str, Path]:
        """Return the folders of the collections by name."""
        return {
            folder.name: folder
            for folder in sorted(self._collections.iterdir())
            if _NAME.fullmatch(folder.name) and folder.is_dir()
        }

    def collection(self, name: str) -> Path:
        """Return where the collection `name` stands, or would stand."""
        return self._collections / check_name(name, "name")

    def remove_collection(self, name: str) -> None:
        """Remove a collection's folder, if there is one; its snapshots stay."""
        self._remove(self.collection(name))

    def _remove(self, folder: Path) -> None:
        if not folder.exists():
            return
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.deleted")
        with storage_errors(folder, "data folder"):
            folder.rename(aside)
            sync(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)

    def snapshots(self, name: str) -> dict[str, Path]:
        """Return the snapshots of a collection, which need not be there any more, by name."""
        folder = self._snapshots / check_name(name, "name")
        if not folder.is_dir():
            return {}
        return {
            made.name: made
            for made in sorted(folder.iterdir())
            if _NAME.fullmatch(made.name) and (made / MANIFEST_NAME).is_file()
        }

    def snapshot(self, name: str, snapshot: str) -> Path:
        """Return where a snapshot stands, or would stand."""
        return self._snapshots / check_name(name, "name") / check_name(snapshot, "snapshot")

    def existing_snapshot(self, name: str, snapshot: str) -> Path:
        """Return where a snapshot stands.

        Raises
        ------
        SnapshotNotFoundError
            If there is none.
        """
        check_name(snapshot, "snapshot")
        known = self.snapshots(name)
        if snapshot not in known:
            raise SnapshotNotFoundError(
                f"{name!r} has no snapshot {snapshot!r}.{near_names(snapshot, known)}",
                hint=f"GET /v1/indexes/{name}/snapshots lists them.",
            )
        return known[snapshot]

    def remove_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot; raises SnapshotNotFoundError if there is none."""
        self._remove(self.existing_snapshot(name, snapshot))

    @staticmethod
    def new_snapshot_name() -> str:
        """Return a name made of the time, to the microsecond."""
        return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")

    def close(self) -> None:
        """Let the lock go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
