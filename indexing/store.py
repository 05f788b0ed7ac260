"""The documents of an index: one SQLite file, one line a document, keyed by its row.

SQLite because it is one file, reads a document without reading the others, opens at once whatever
its size, and any tool can look into it. It is written once, with the index; the index folder is
immutable, so it is opened as such: no locks, no journal, safe on a read-only file system.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from lsr.core.artifact import storage_errors
from lsr.core.errors import (
    ArtifactCorruptedError,
    DataError,
    DocumentNotFoundError,
    DuplicateIdError,
    StorageError,
)
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Int32Array
from lsr.core.strings import StringTable

__all__ = ["DOCUMENTS_NAME", "DocumentStore", "read_metadata", "write_documents"]

DOCUMENTS_NAME = "documents.sqlite"

_SCHEMA = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    doc_id TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL
)
"""
# Where positions were kept: the terms of a row's vector as it was encoded, and their origins.
_ORIGINS_SCHEMA = """
CREATE TABLE origins (row INTEGER PRIMARY KEY, terms BLOB NOT NULL, origins BLOB NOT NULL)
"""
_COLUMNS = "doc_id, text, title, metadata"
# SQLite takes a limited number of values in one statement (999 in old builds).
_ROWS_A_STATEMENT = 500


class DocumentStore:
    """Documents by row or by id; may be used from many threads.

    Parameters
    ----------
    path : Path
        The SQLite file that `write_documents` wrote.
    doc_ids : StringTable
        The ids of the index, by row.

    Raises
    ------
    ArtifactCorruptedError
        If the file is no such database.
    """

    def __init__(self, path: Path, doc_ids: StringTable) -> None:
        self._path = path
        self._doc_ids = doc_ids
        # A connection serves one call at a time; append and pop of a deque are atomic.
        self._free: deque[sqlite3.Connection] = deque()
        self._closed = False
        with self._connection() as connection:
            connection.execute(f"SELECT {_COLUMNS} FROM documents LIMIT 0")
            (tables,) = connection.execute(
                "SELECT COUNT(*) FROM sqlite_master WHERE name = 'origins'"
            ).fetchone()
        self.has_origins = tables > 0

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise ArtifactCorruptedError(f"The document store {self._path} is closed.")
        try:
            try:
                connection = self._free.pop()
            except IndexError:
                connection = sqlite3.connect(
                    f"{self._path.resolve().as_uri()}?mode=ro&immutable=1",
                    uri=True,
                    check_same_thread=False,
                )
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
        except sqlite3.DatabaseError as error:
            raise ArtifactCorruptedError(
                f"{self._path} cannot be read: {error}.",
                hint="Restore it from a copy, or build the index again with --corpus.",
            ) from error
        if self._closed:
            connection.close()
        else:
            self._free.append(connection)

    def get(self, doc_id: str) -> Document:
        """Return a document by its id.

        Raises
        ------
        DocumentNotFoundError
            If there is none.
        """
        row = self._doc_ids.row(doc_id)
        if row is None:
            raise DocumentNotFoundError(f"No document has the id {doc_id!r}.")
        return self.get_row(row)

    def get_row(self, row: int) -> Document:
        """Return the document of a row.

        Raises
        ------
        DocumentNotFoundError
            If there is none.
        """
        return self.get_rows([row])[0]

    def get_rows(self, rows: Sequence[int]) -> list[Document]:
        """Return the documents of `rows`, in that order.

        Raises
        ------
        DocumentNotFoundError
            Naming the first row that has none.
        """
        wanted = [int(row) for row in rows]
        found: dict[int, Document] = {}
        with self._connection() as connection:
            for start in range(0, len(wanted), _ROWS_A_STATEMENT):
                part = wanted[start : start + _ROWS_A_STATEMENT]
                marks = ",".join("?" * len(part))
                for row, *fields in connection.execute(
                    f"SELECT row, {_COLUMNS} FROM documents WHERE row IN ({marks})", part
                ):
                    found[row] = _document(fields)
        for row in wanted:
            if row not in found:
                raise DocumentNotFoundError(
                    f"No document at row {row}; the store has {len(self)} documents."
                )
        return [found[row] for row in wanted]

    def origins(self, rows: Sequence[int]) -> list[tuple[Int32Array, Origins]]:
        """Return the terms of `rows` and where each comes from; see `has_origins`."""
        found: dict[int, tuple[Int32Array, Origins]] = {}
        with self._connection() as connection:
            for row, terms, blob in connection.execute(
                f"SELECT row, terms, origins FROM origins WHERE row IN ({','.join('?' * len(rows))})",
                [int(row) for row in rows],
            ):
                of_row = np.frombuffer(terms, dtype="<i4").astype(np.int32)
                found[row] = of_row, Origins.unpacked(blob, len(of_row))
        return [found[int(row)] for row in rows]

    def close(self) -> None:
        """Close every connection; the store cannot be used afterwards."""
        self._closed = True
        while self._free:
            self._free.pop().close()

    def __len__(self) -> int:
        return len(self._doc_ids)

    def __iter__(self) -> Iterator[Document]:
        with self._connection() as connection:
            for fields in connection.execute(f"SELECT {_COLUMNS} FROM documents ORDER BY row"):
                yield _document(fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An unclosed connection warns when it is collected.
        if hasattr(self, "_free"):
            self.close()


def _document(fields: Sequence[Any]) -> Document:
    doc_id, text, title, metadata = fields
    return Document(doc_id, text, title, json.loads(metadata))


def write_documents(
    path: Path,
    documents: Iterable[Document],
    doc_ids: StringTable,
    *,
    origins: Iterable[tuple[Int32Array, bytes]] | None = None,
) -> int:
    """Write the documents of an index into the new SQLite file `path`.

    Parameters
    ----------
    path : Path
        Must not exist.
    documents : iterable of Document
        In any order. Those without a vector in the index are passed over.
    doc_ids : StringTable
        The ids of the index, by row.
    origins : iterable of (int32 array, bytes), optional
        Terms and packed origins (`lsr.core.origins`) of every row, in the order of the rows.

    Returns
    -------
    int
        How many documents were passed over.

    Raises
    ------
    DataError
        If a document of the index is missing.
    DuplicateIdError
        If one comes twice.
    """
    passed_over = 0
    with storage_errors(path, "documents"):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            # The file counts only once the whole artefact is renamed into place.
            connection.execute("PRAGMA journal_mode=OFF")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(_SCHEMA)
            connection.execute("BEGIN")
            expected = 0
            for document in documents:
                row: int | None = expected
                if expected >= len(doc_ids) or doc_ids[expected] != document.doc_id:
                    row = doc_ids.row(document.doc_id)
                if row is None:
                    passed_over += 1
                    continue
                expected = row + 1
                _insert(connection, row, document)
            if origins is not None:
                connection.execute(_ORIGINS_SCHEMA)
                connection.executemany(
                    "INSERT INTO origins VALUES (?, ?, ?)",
                    (
                        (row, terms.astype("<i4").tobytes(), blob)
                        for row, (terms, blob) in enumerate(origins)
                    ),
                )
            connection.execute("COMMIT")
            _require_all(connection, doc_ids)
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"Cannot write the documents at {path}: {error}.",
                hint="Check free space and permissions, and run the command again.",
            ) from error
        finally:
            connection.close()
    return passed_over


def read_metadata(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id and the metadata of every row that `write_documents` wrote, in order."""
    connection = sqlite3.connect(path)
    try:
        for doc_id, metadata in connection.execute(
            "SELECT doc_id, metadata FROM documents ORDER BY row"
        ):
            yield doc_id, {} if metadata == "{}" else json.loads(metadata)
    finally:
        connection.close()


def _insert(connection: sqlite3.Connection, row: int, document: Document) -> None:
    try:
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The metadata of document {document.doc_id!r} is not JSON: {error}."
        ) from error
    try:
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
            (row, document.doc_id, document.title, document.text, metadata),
        )
    except sqlite3.IntegrityError:
        raise DuplicateIdError(
            f"The document id {document.doc_id!r} stands twice in the corpus.",
            hint="Give every document its own id.",
        ) from None
    except UnicodeEncodeError as error:
        raise DataError(
            f"Document {document.doc_id!r} holds text that is not valid Unicode: {error}."
        ) from error


def _require_all(connection: sqlite3.Connection, doc_ids: StringTable) -> None:
    (count,) = connection.execute("SELECT COUNT(*) FROM documents").fetchone()
    if count == len(doc_ids):
        return
    missing = 0
    for (row,) in connection.execute("SELECT row FROM documents ORDER BY row"):
        if row != missing:
            break
        missing += 1
    raise DataError(
        f"The corpus lacks {len(doc_ids) - count} of the index's {len(doc_ids)} documents, "
        f"the first is {doc_ids[missing]!r}.",
        hint="Pass the corpus that was encoded.",
    )
