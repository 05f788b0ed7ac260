"""The durable truth of a live collection: one SQLite database in write-ahead-log mode.

::

    documents   number, doc_id, title, text, metadata, crc      live documents only
    vectors     number, vector, crc                             their sparse vectors
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

import json
import sqlite3
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from lsr.core.errors import ArtifactCorruptedError, DataError, StorageError
from lsr.core.records import Document
from lsr.core.sparse import Int64Array, SparseVector

__all__ = [
    "STORE_NAME",
    "LiveRow",
    "LiveStore",
    "PreparedDocument",
    "ReadTransaction",
    "SegmentRow",
    "StoreState",
    "WriteTransaction",
    "create_store",
    "prepare",
]

STORE_NAME = "store.sqlite"

_SCHEMA = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, doc_id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    text TEXT NOT NULL, metadata TEXT NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL
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
# SQLite takes a limited number of values in one statement (999 in old builds).
_VALUES_A_STATEMENT = 500
# The page cache of the writer, in KiB (negative by SQLite's convention).
_CACHE = -65536


class SegmentRow(NamedTuple):
    """One sealed segment: the folder `name` holds the numbers ``first .. last`` that lived then.

    `dead` is the bitmap of its dead rows when tombstones were last folded into it (may be empty),
    `stamps` the JSON of size and time of every file (`indexing.live_checks`).
    """

    name: str
    first: int
    last: int
    n_rows: int
    dead: bytes
    manifest_sha256: str
    stamps: str


@dataclass(frozen=True, slots=True)
class StoreState:
    """The counters of the store; `structure` changes when segments or folded tombstones do."""

    generation: int = 0
    structure: int = 0
    next_number: int = 0
    n_documents: int = 0
    documents_sum: int = 0
    vectors_sum: int = 0

    def values(self) -> tuple[int, ...]:
        """Return the counters in column order."""
        return (
            self.generation,
            self.structure,
            self.next_number,
            self.n_documents,
            self.documents_sum,
            self.vectors_sum,
        )


class LiveRow(NamedTuple):
    """A document as the head and a segment build read it: all but the text."""

    number: int
    doc_id: str
    metadata: dict[str, Any]
    vector: SparseVector


class PreparedDocument(NamedTuple):
    """A document as it is stored, checked before a transaction begins."""

    doc_id: str
    title: str
    text: str
    metadata: str
    vector: bytes


def _term_dtype(vocabulary_size: int) -> np.dtype[Any]:
    return np.dtype("<u2" if vocabulary_size <= 65_536 else "<i4")


def _crc(number: int, *parts: bytes) -> int:
    crc = zlib.crc32(number.to_bytes(8, "little", signed=True))
    for part in parts:
        crc = zlib.crc32(part, zlib.crc32(len(part).to_bytes(4, "little"), crc))
    return crc


def _document_crc(number: int, doc_id: str, title: str, text: str, metadata: str) -> int:
    return _crc(number, doc_id.encode(), title.encode(), text.encode(), metadata.encode())


def _row_crc(values: Sequence[Any]) -> int:
    parts = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    return _crc(0, *parts)


def prepare(document: Document, vector: SparseVector) -> PreparedDocument:
    """Return a document as it is stored.

    Raises
    ------
    DataError
        If the id is empty, the metadata is not JSON, or a string is not valid Unicode.
    """
    if not document.doc_id:
        raise DataError("A document has an empty doc_id.", hint="Give every document its own id.")
    try:
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The metadata of document {document.doc_id!r} is not JSON: {error}."
        ) from error
    try:
        for string in (document.doc_id, document.title, document.text, metadata):
            string.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"Document {document.doc_id!r} holds text that is not valid Unicode: {error}."
        ) from error
    terms = vector.terms.astype(_term_dtype(vector.size)).tobytes()
    blob = terms + vector.weights.astype("<f4").tobytes()
    return PreparedDocument(document.doc_id, document.title, document.text, metadata, blob)


def create_store(path: Path, manifest_sha256: str) -> None:
    """Write an empty store at the new file `path` and close it.

    `manifest_sha256` ties it to the manifest of its collection.

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
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO origin VALUES (?)", (manifest_sha256,))
            state = StoreState()
            connection.execute(
                "INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (*state.values(), _row_crc(state.values())),
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageError(f"Cannot create {path}: {error}.") from error


class ReadTransaction:
    """A consistent look at the store; made by `LiveStore.read`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, vocabulary_size: int) -> None:
        self.connection = connection
        self._path = path
        self._size = vocabulary_size
        self._dtype = _term_dtype(vocabulary_size)

    def _damaged(self, what: str) -> ArtifactCorruptedError:
        return ArtifactCorruptedError(
            f"{self._path}: {what} differs from its checksum.",
            hint="Restore the collection from a snapshot (lsr index restore).",
        )

    def state(self) -> StoreState:
        """Return the counters."""
        row = self.connection.execute(
            "SELECT generation, structure, next_number, n_documents, documents_sum, vectors_sum, "
            "crc FROM state"
        ).fetchone()
        if row is None or _row_crc(row[:-1]) != row[-1]:
            raise self._damaged("the state row")
        return StoreState(*row[:-1])

    def manifest_sha256(self) -> str:
        """Return the checksum of the manifest that the store was made with."""
        (digest,) = self.connection.execute("SELECT manifest_sha256 FROM origin").fetchone()
        return str(digest)

    def segments(self) -> list[SegmentRow]:
        """Return the segments, by their numbers."""
        found = []
        for *values, crc in self.connection.execute(
            "SELECT name, first, last, n_rows, dead, manifest_sha256, stamps, crc FROM segments "
            "ORDER BY first"
        ):
            if _row_crc(values) != crc:
                raise self._damaged(f"the row of segment {values[0]!r}")
            found.append(SegmentRow(*values))
        return found

    def fields(self) -> dict[str, str]:
        """Return the types of the metadata fields by name."""
        found = {}
        for name, kind, crc in self.connection.execute("SELECT name, type, crc FROM fields"):
            if _row_crc((name, kind)) != crc:
                raise self._damaged(f"the row of field {name!r}")
            found[name] = kind
        return found

    def tombstones(self, first: int, last: int) -> Int64Array:
        """Return the dead numbers from `first` to `last`, ascending."""
        return _integers(
            self.connection.execute(
                "SELECT number FROM tombstones WHERE number BETWEEN ? AND ? ORDER BY number",
                (first, last),
            )
        )

    def tombstones_since(self, generation: int) -> Int64Array:
        """Return the numbers that died after `generation`, ascending."""
        return _integers(
            self.connection.execute(
                "SELECT number FROM tombstones WHERE generation > ? ORDER BY number", (generation,)
            )
        )

    def live_numbers(self, first: int, last: int) -> Int64Array:
        """Return the numbers from `first` to `last` that live, ascending."""
        return _integers(
            self.connection.execute(
                "SELECT number FROM documents WHERE number BETWEEN ? AND ? ORDER BY number",
                (first, last),
            )
        )

    def numbers(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those ids that live."""
        found: dict[str, int] = {}
        for start in range(0, len(doc_ids), _VALUES_A_STATEMENT):
            part = doc_ids[start : start + _VALUES_A_STATEMENT]
            marks = ",".join("?" * len(part))
            found.update(
                self.connection.execute(
                    f"SELECT doc_id, number FROM documents WHERE doc_id IN ({marks})", part
                )
            )
        return found

    def documents(self, numbers: Sequence[int]) -> dict[int, Document]:
        """Return the documents of those numbers that live."""
        found: dict[int, Document] = {}
        for start in range(0, len(numbers), _VALUES_A_STATEMENT):
            part = [int(n) for n in numbers[start : start + _VALUES_A_STATEMENT]]
            marks = ",".join("?" * len(part))
            for number, doc_id, title, text, metadata, crc in self.connection.execute(
                "SELECT number, doc_id, title, text, metadata, crc FROM documents "
                f"WHERE number IN ({marks})",
                part,
            ):
                if _document_crc(number, doc_id, title, text, metadata) != crc:
                    raise self._damaged(f"document {doc_id!r}")
                found[number] = Document(doc_id, text, title, json.loads(metadata))
        return found

    def vector(self, number: int) -> SparseVector | None:
        """Return the vector of a number, or None if it is dead."""
        row = self.connection.execute(
            "SELECT vector, crc FROM vectors WHERE number = ?", (number,)
        ).fetchone()
        return None if row is None else self._vector(number, *row)

    def _vector(self, number: int, blob: bytes, crc: int) -> SparseVector:
        if _crc(number, blob) != crc:
            raise self._damaged(f"the vector of document number {number}")
        nnz = len(blob) // (self._dtype.itemsize + 4)
        terms = np.frombuffer(blob, dtype=self._dtype, count=nnz).astype(np.int32)
        weights = np.frombuffer(blob, "<f4", offset=nnz * self._dtype.itemsize)
        return SparseVector(terms, weights.astype(np.float32), self._size)

    def rows(self, first: int, last: int) -> Iterator[LiveRow]:
        """Yield the live documents from `first` to `last`, by number, without their texts."""
        cursor = self.connection.execute(
            "SELECT d.number, d.doc_id, d.title, d.text, d.metadata, d.crc, v.vector, v.crc "
            "FROM documents AS d LEFT JOIN vectors AS v USING (number) "
            "WHERE d.number BETWEEN ? AND ? ORDER BY d.number",
            (first, last),
        )
        for number, doc_id, title, text, metadata, crc, blob, vector_crc in cursor:
            if _document_crc(number, doc_id, title, text, metadata) != crc:
                raise self._damaged(f"document {doc_id!r}")
            if blob is None:
                raise self._damaged(f"the set of vectors (document {doc_id!r} has none)")
            vector = self._vector(number, blob, vector_crc)
            yield LiveRow(number, doc_id, json.loads(metadata), vector)


def _integers(cursor: sqlite3.Cursor) -> Int64Array:
    return np.fromiter((row[0] for row in cursor), dtype=np.int64)


class WriteTransaction(ReadTransaction):
    """One generation in the making; made by `LiveStore.write`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, vocabulary_size: int) -> None:
        super().__init__(connection, path, vocabulary_size)
        state = self.state()
        self.next = replace(state, generation=state.generation + 1)

    def remove(self, doc_ids: Sequence[str]) -> list[int]:
        """Remove the documents of those ids that live; return their numbers."""
        numbers = list(self.numbers(doc_ids).values())
        for number in numbers:
            for table in ("documents", "vectors"):
                (crc,) = self.connection.execute(
                    f"DELETE FROM {table} WHERE number = ? RETURNING crc", (number,)
                ).fetchone()
                self._sum(table, -crc)
            self.connection.execute(
                "INSERT INTO tombstones VALUES (?, ?)", (number, self.next.generation)
            )
        self.next = replace(self.next, n_documents=self.next.n_documents - len(numbers))
        return numbers

    def _sum(self, table: str, crc: int) -> None:
        if table == "documents":
            self.next = replace(self.next, documents_sum=self.next.documents_sum + crc)
        else:
            self.next = replace(self.next, vectors_sum=self.next.vectors_sum + crc)

    def insert(self, documents: Iterable[PreparedDocument], first: int) -> int:
        """Store documents under the numbers from `first` on; return the next free number.

        Their ids must not live (`remove` first). Numbers from `first` on must be unused.
        """
        number = first
        n, documents_sum, vectors_sum = 0, self.next.documents_sum, self.next.vectors_sum
        for doc_id, title, text, metadata, blob in documents:
            crc = _document_crc(number, doc_id, title, text, metadata)
            vector_crc = _crc(number, blob)
            self.connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                (number, doc_id, title, text, metadata, crc),
            )
            self.connection.execute(
                "INSERT INTO vectors VALUES (?, ?, ?)", (number, blob, vector_crc)
            )
            documents_sum += crc
            vectors_sum += vector_crc
            number += 1
            n += 1
        self.next = replace(
            self.next,
            next_number=max(self.next.next_number, number),
            n_documents=self.next.n_documents + n,
            documents_sum=documents_sum,
            vectors_sum=vectors_sum,
        )
        return number

    def reserve(self, next_number: int) -> None:
        """Let no document have a number below `next_number` from now on."""
        self.next = replace(self.next, next_number=max(self.next.next_number, next_number))

    def add_fields(self, fields: dict[str, str]) -> None:
        """Fix the types of new metadata fields."""
        for name, kind in fields.items():
            self.connection.execute(
                "INSERT INTO fields VALUES (?, ?, ?)", (name, kind, _row_crc((name, kind)))
            )

    def replace_segments(self, old: Sequence[str], new: SegmentRow | None) -> None:
        """Drop the segments named in `old` and put `new` in their place."""
        for name in old:
            self.connection.execute("DELETE FROM segments WHERE name = ?", (name,))
        if new is not None:
            self.put_segment(new)
        self.next = replace(self.next, structure=self.next.generation)

    def forget_segments(self) -> None:
        """Drop the rows of all segments and all tombstones: everything is to be built again."""
        self.connection.execute("DELETE FROM segments")
        self.connection.execute("DELETE FROM tombstones")
        self.next = replace(self.next, structure=self.next.generation)

    def put_segment(self, row: SegmentRow) -> None:
        """Write the row of a segment, new or changed."""
        self.connection.execute(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, _row_crc(row)),
        )
        self.next = replace(self.next, structure=self.next.generation)

    def forget_tombstones(self, first: int, last: int, *, keep: Int64Array | None = None) -> None:
        """Drop the tombstones from `first` to `last`, but for those of the numbers in `keep`."""
        kept: list[tuple[int, int]] = []
        if keep is not None and len(keep):
            wanted = set(keep.tolist())
            kept = [
                (number, generation)
                for number, generation in self.connection.execute(
                    "SELECT number, generation FROM tombstones WHERE number BETWEEN ? AND ?",
                    (first, last),
                )
                if number in wanted
            ]
        self.connection.execute(
            "DELETE FROM tombstones WHERE number BETWEEN ? AND ?", (first, last)
        )
        self.connection.executemany("INSERT INTO tombstones VALUES (?, ?)", kept)

    def finish(self) -> None:
        """Write the counters."""
        self.connection.execute(
            "UPDATE state SET generation=?, structure=?, next_number=?, n_documents=?, "
            "documents_sum=?, vectors_sum=?, crc=?",
            (*self.next.values(), _row_crc(self.next.values())),
        )


class LiveStore:
    """The open store; reads from any thread, writes from one at a time (the caller's lock).

    Parameters
    ----------
    path : Path
        The SQLite file.
    vocabulary_size : int
        Of the vectors.
    writable : bool
        Open the one connection that writes.

    Raises
    ------
    ArtifactCorruptedError
        If the file is no such database.
    """

    def __init__(self, path: Path, vocabulary_size: int, *, writable: bool) -> None:
        self.path = path
        self._size = vocabulary_size
        # A connection serves one call at a time; append and pop of a deque are atomic.
        self._free: deque[sqlite3.Connection] = deque()
        self._writer: sqlite3.Connection | None = None
        # PRAGMA data_version compares with what the same connection saw before.
        self._watcher: sqlite3.Connection | None = None
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
        except sqlite3.DatabaseError as error:
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
                yield ReadTransaction(connection, self.path, self._size)
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
            transaction = WriteTransaction(connection, self.path, self._size)
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
