"""The durable truth of a live collection: one SQLite database in write-ahead-log mode.

::

    documents   number, doc_id, title, text, metadata, crc      live documents only
    vectors     number, vector, origins, crc                    their sparse vectors, and where in
                                                                their texts the weights come from
                                                                (lsr.core.origins; empty if not kept)
    dense       number, vector, crc                             their dense vectors, float32; only
                                                                where the collection has a dense half
    tombstones  number, generation                              dead numbers that a segment may hold
    segments    name, first, last, n_rows, dead, ...            the sealed segments, by number
    fields      name, type                                      metadata fields (indexing.filters_fields)
    state       one row: counters and sums of the checksums

A *number* names one version of one document. Numbers only grow and are never used again: a
replaced document gets a new one and leaves a tombstone. A transaction is one generation.

SQLite has no checksums of its own, so every row carries one, over its key and its content, and is
checked whenever it is read; the sums of all of them stand in ``state``, so that a missing row is
found as well (`indexing.live_checks`).
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from indexing.live_rows import StoreState, Widths, row_checksum
from indexing.live_transactions import ReadTransaction, WriteTransaction
from lsr.core.errors import ArtifactCorruptedError, StorageError

__all__ = ["STORE_NAME", "LiveStore", "create_store"]

STORE_NAME = "store.sqlite"
# The page cache of the writer, in KiB (negative by SQLite's convention).
_CACHE = -65536

_SCHEMA = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, doc_id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    text TEXT NOT NULL, metadata TEXT NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL, origins BLOB NOT NULL
);
CREATE TABLE tombstones (number INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX tombstones_generation ON tombstones (generation);
CREATE TABLE segments (
    name TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, n_rows INTEGER NOT NULL,
    dead BLOB NOT NULL, manifest_sha256 TEXT NOT NULL, stamps TEXT NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE fields (name TEXT PRIMARY KEY, type TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE origin (manifest_sha256 TEXT NOT NULL);
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL,
    structure INTEGER NOT NULL, next_number INTEGER NOT NULL, n_documents INTEGER NOT NULL,
    documents_sum INTEGER NOT NULL, vectors_sum INTEGER NOT NULL, crc INTEGER NOT NULL
);
"""
_DENSE_SCHEMA = """
CREATE TABLE dense (number INTEGER PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL);
"""


def create_store(path: Path, manifest_sha256: str, *, dense: bool = False) -> None:
    """Write an empty store at the new file `path` and close it.

    `manifest_sha256` ties it to the manifest of its collection; `dense` says that there is a dense
    half.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA + (_DENSE_SCHEMA if dense else ""))
            connection.execute("INSERT INTO origin VALUES (?)", (manifest_sha256,))
            state = StoreState()
            connection.execute(
                "INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (*state.values(), row_checksum(state.values())),
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageError(f"Cannot create {path}: {error}.") from error


class LiveStore:
    """The open store; reads from any thread, writes from one at a time (the caller's lock).

    Parameters
    ----------
    path : Path
        The SQLite file.
    widths : Widths
        Of the vectors.
    writable : bool
        Open the one connection that writes.

    Raises
    ------
    ArtifactCorruptedError
        If the file is no such database.
    """

    def __init__(self, path: Path, widths: Widths, *, writable: bool) -> None:
        self.path = path
        self._widths = widths
        self._writer: sqlite3.Connection | None = None
        # PRAGMA data_version compares with what the same connection saw before.
        self._watcher: sqlite3.Connection | None = None
        # A connection serves one call at a time; append and pop of a deque are atomic.
        self._free: deque[sqlite3.Connection] = deque()
        self._watching = Lock()
        self._broken = ""
        self._closed = False
        if writable:
            with self._reading():
                self._writer = self._connect("rw")
                self._writer.execute("PRAGMA synchronous=FULL")
                # Checkpoints are ours: the store's stamp is written after each of them.
                self._writer.execute("PRAGMA wal_autocheckpoint=0")
                # A log that starts again is cut, so that no old frames stand behind new ones.
                self._writer.execute("PRAGMA journal_size_limit=0")
                self._writer.execute(f"PRAGMA cache_size={_CACHE}")

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.resolve().as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=30.0,
        )
        connection.execute("PRAGMA cell_size_check=ON")
        return connection

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        # A damaged schema stands in SQLite's message, which Python then cannot decode.
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise ArtifactCorruptedError(
                f"{self.path} cannot be read: {error}.",
                hint="Check it with lsr index verify; restore it with lsr index restore.",
            ) from error

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """Lend a consistent look at the store to the block.

        Raises
        ------
        ArtifactCorruptedError
            If the database cannot be read, or a row differs from its checksum.
        """
        if self._closed:
            raise StorageError(f"The store {self.path} is closed.")
        with self._reading():
            try:
                connection = self._free.pop()
            except IndexError:
                connection = self._connect("ro")
            try:
                connection.execute("BEGIN")
                yield ReadTransaction(connection, self.path, self._widths)
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
        if self._closed:
            connection.close()
        else:
            self._free.append(connection)

    def version(self) -> int:
        """Return a number that changes whenever another connection has written: a cheap look.

        Raises
        ------
        ArtifactCorruptedError
            If the database cannot be read.
        """
        with self._reading(), self._watching:
            if self._watcher is None:
                self._watcher = self._connect("ro")
            (number,) = self._watcher.execute("PRAGMA data_version").fetchone()
        return int(number)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """Let the block make one generation: all of it is durable when the block ends, or nothing.

        Raises
        ------
        StorageError
            If the disk is full or refuses. After a failed write or sync nothing more can be
            written until the collection is opened again: what the disk holds is not known.
        """
        if self._closed or self._writer is None:
            raise StorageError(f"The store {self.path} is not open for writing.")
        if self._broken:
            raise StorageError(
                f"{self.path} takes no more writes after an error: {self._broken}.",
                hint="Open the collection again; what was acknowledged is safe.",
            )
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            transaction = WriteTransaction(connection, self.path, self._widths)
            yield transaction
            transaction.finish()
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back(connection)
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise ArtifactCorruptedError(
                    f"{self.path} is damaged: {error}.",
                    hint="Restore the collection from a snapshot (lsr index restore).",
                ) from error
            full = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
            if not full:
                self._broken = str(error)
            raise StorageError(
                f"Cannot write to {self.path}: {error}. Nothing of this write was kept.",
                hint="The disk is full: free some space and write again."
                if full
                else "Check the disk, then open the collection again.",
            ) from error
        except BaseException:
            self._roll_back(connection)
            raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                self._broken = str(error)

    def checkpoint(self) -> bool:
        """Move the log into the database file and empty it; return whether that could be done.

        It cannot while somebody reads an older state; the log goes on growing then.

        Raises
        ------
        StorageError
            If the disk refuses; nothing is lost, the log still holds all.
        """
        if self._writer is None or self._broken:
            return False
        try:
            self._writer.execute("PRAGMA busy_timeout=20")
            busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"Cannot move the log into {self.path}: {error}.",
                hint="Check free space; nothing is lost.",
            ) from error
        finally:
            self._writer.execute("PRAGMA busy_timeout=30000")
        return not busy

    @property
    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Close every connection."""
        self._closed = True
        while self._free:
            self._free.pop().close()
        for connection in (self._watcher, self._writer):
            if connection is not None:
                connection.close()
        self._watcher = self._writer = None

    def __del__(self) -> None:
        # An unclosed connection warns when it is collected.
        if hasattr(self, "_free"):
            self.close()
