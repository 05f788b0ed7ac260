"""What can be read from and written to a live collection's store, inside one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from indexing.live_rows import (
    LiveRow,
    PreparedDocument,
    SegmentRow,
    StoreState,
    Widths,
    checksum,
    document_checksum,
    row_checksum,
    term_dtype,
)
from lsr.core.errors import ArtifactCorruptedError
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, Int32Array, Int64Array, SparseVector

__all__ = ["ReadTransaction", "WriteTransaction"]

# SQLite takes a limited number of values in one statement (999 in old builds).
_VALUES_A_STATEMENT = 500


class ReadTransaction:
    """A consistent look at the store; made by `LiveStore.read`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, widths: Widths) -> None:
        self.connection = connection
        self._path = path
        self._widths = widths
        self._dtype = term_dtype(widths.sparse)
        self._vector_tables = ("vectors", "dense") if widths.dense else ("vectors",)

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
        if row is None or row_checksum(row[:-1]) != row[-1]:
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
            if row_checksum(values) != crc:
                raise self._damaged(f"the row of segment {values[0]!r}")
            found.append(SegmentRow(*values))
        return found

    def fields(self) -> dict[str, str]:
        """Return the types of the metadata fields by name."""
        found = {}
        for name, kind, crc in self.connection.execute("SELECT name, type, crc FROM fields"):
            if row_checksum((name, kind)) != crc:
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
                if document_checksum(number, doc_id, title, text, metadata) != crc:
                    raise self._damaged(f"document {doc_id!r}")
                found[number] = Document(doc_id, text, title, json.loads(metadata))
        return found

    def vector(self, number: int) -> SparseVector | None:
        """Return the vector of a number, or None if it is dead."""
        row = self.connection.execute(
            "SELECT vector, origins, crc FROM vectors WHERE number = ?", (number,)
        ).fetchone()
        return None if row is None else self._vector(number, *row)

    def origins(self, numbers: Sequence[int]) -> dict[int, tuple[Int32Array, Origins] | None]:
        """Return the terms of those numbers that live and where each comes from, if it was kept."""
        found: dict[int, tuple[Int32Array, Origins] | None] = {}
        for start in range(0, len(numbers), _VALUES_A_STATEMENT):
            part = [int(n) for n in numbers[start : start + _VALUES_A_STATEMENT]]
            for number, blob, packed, crc in self.connection.execute(
                "SELECT number, vector, origins, crc FROM vectors "
                f"WHERE number IN ({','.join('?' * len(part))})",
                part,
            ):
                vector = self._vector(number, blob, packed, crc)
                kept = (vector.terms, Origins.unpacked(packed, vector.nnz)) if packed else None
                found[number] = kept
        return found

    def _vector(self, number: int, blob: bytes, origins: bytes, crc: int) -> SparseVector:
        if checksum(number, blob, origins) != crc:
            raise self._damaged(f"the vector of document number {number}")
        nnz = len(blob) // (self._dtype.itemsize + 4)
        terms = np.frombuffer(blob, dtype=self._dtype, count=nnz).astype(np.int32)
        weights = np.frombuffer(blob, "<f4", offset=nnz * self._dtype.itemsize)
        return SparseVector(terms, weights.astype(np.float32), self._widths.sparse)

    def dense_vector(self, number: int) -> Float32Array | None:
        """Return the dense vector of a number, or None if it is dead."""
        row = self.connection.execute(
            "SELECT vector, crc FROM dense WHERE number = ?", (number,)
        ).fetchone()
        return None if row is None else self._dense(number, *row)

    def _dense(self, number: int, blob: bytes, crc: int) -> Float32Array:
        if checksum(number, blob) != crc or len(blob) != 4 * self._widths.dense:
            raise self._damaged(f"the dense vector of document number {number}")
        return np.frombuffer(blob, "<f4").astype(np.float32, copy=False)

    def rows(self, first: int, last: int) -> Iterator[LiveRow]:
        """Yield the live documents from `first` to `last`, by number, without their texts."""
        has_dense = self._widths.dense > 0
        of_dense = "e.vector, e.crc" if has_dense else "NULL, NULL"
        cursor = self.connection.execute(
            "SELECT d.number, d.doc_id, d.title, d.text, d.metadata, d.crc, "
            f"v.vector, v.origins, v.crc, {of_dense} "
            "FROM documents AS d LEFT JOIN vectors AS v USING (number) "
            f"{'LEFT JOIN dense AS e USING (number) ' if has_dense else ''}"
            "WHERE d.number BETWEEN ? AND ? ORDER BY d.number",
            (first, last),
        )
        for number, doc_id, title, text, metadata, crc, *of_vectors in cursor:
            blob, origins, vector_crc, dense_blob, dense_crc = of_vectors
            if document_checksum(number, doc_id, title, text, metadata) != crc:
                raise self._damaged(f"document {doc_id!r}")
            if blob is None or (has_dense and dense_blob is None):
                raise self._damaged(f"the set of vectors (document {doc_id!r} has none)")
            vector = self._vector(number, blob, origins, vector_crc)
            dense = self._dense(number, dense_blob, dense_crc) if has_dense else None
            yield LiveRow(number, doc_id, json.loads(metadata), vector, dense)

    def vectors_sum(self) -> int:
        """Return the sum of the checksums of all vectors, sparse and dense."""
        sums = (
            self.connection.execute(f"SELECT IFNULL(SUM(crc), 0) FROM {table}").fetchone()[0]
            for table in self._vector_tables
        )
        return sum(sums)


def _integers(cursor: sqlite3.Cursor) -> Int64Array:
    return np.fromiter((row[0] for row in cursor), dtype=np.int64)


class WriteTransaction(ReadTransaction):
    """One generation in the making; made by `LiveStore.write`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, widths: Widths) -> None:
        super().__init__(connection, path, widths)
        state = self.state()
        self.next = replace(state, generation=state.generation + 1)

    def remove(self, doc_ids: Sequence[str]) -> list[int]:
        """Remove the documents of those ids that live; return their numbers."""
        numbers = list(self.numbers(doc_ids).values())
        for number in numbers:
            for table in ("documents", *self._vector_tables):
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
        for doc_id, title, text, metadata, blob, origins, dense in documents:
            crc = document_checksum(number, doc_id, title, text, metadata)
            vector_crc = checksum(number, blob, origins)
            self.connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                (number, doc_id, title, text, metadata, crc),
            )
            self.connection.execute(
                "INSERT INTO vectors VALUES (?, ?, ?, ?)", (number, blob, vector_crc, origins)
            )
            if self._widths.dense:
                dense_crc = checksum(number, dense)
                self.connection.execute(
                    "INSERT INTO dense VALUES (?, ?, ?)", (number, dense, dense_crc)
                )
                vectors_sum += dense_crc
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
                "INSERT INTO fields VALUES (?, ?, ?)", (name, kind, row_checksum((name, kind)))
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
            (*row, row_checksum(row)),
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
            (*self.next.values(), row_checksum(self.next.values())),
        )
