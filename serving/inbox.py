"""Documents that a collection has taken but not written yet: on disk, in order, checked.

One file an accepted import, a line a document with a checksum before it. A file is complete when it
has its final name, which is what the caller's acknowledgement waits for; it is removed when all of
its documents are in the collection. After a crash a file is worked through again from its start:
writing a document twice changes nothing, and nothing that came later was let past it.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from lsr.core.artifact import storage_errors, sync
from serving.importing import Line, LineProblem
from serving.schemas_writing import DocumentIn

__all__ = ["Entry", "EntryWriter", "Inbox"]

_SUFFIX = ".jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted import.

    Attributes
    ----------
    path : Path
    task_id : str
    n_documents, n_bytes : int
    doc_ids : frozenset of str
    """

    path: Path
    task_id: str
    n_documents: int
    n_bytes: int
    doc_ids: frozenset[str] = field(repr=False)

    def lines(self) -> Iterator[Line | LineProblem]:
        """Yield the documents, and the problems found when they were taken, in their order.

        A line that differs from its checksum is a problem too; its number is the inbox's.
        """
        with open(self.path, "rb") as stream:
            for at, raw in enumerate(stream, 1):
                content = _checked(raw)
                if content is None:
                    logger.error("%s, line %d differs from its checksum", self.path, at)
                    yield LineProblem(at, "it was damaged in the inbox: send it again")
                    continue
                number, told = json.loads(content)
                if isinstance(told, str):
                    yield LineProblem(number, told)
                else:
                    yield Line(number, DocumentIn.model_validate(told))


def _checked(raw: bytes) -> bytes | None:
    told, _, content = raw.rstrip(b"\n").partition(b" ")
    return content if told == b"%08x" % zlib.crc32(content) else None


class EntryWriter:
    """An import that is being taken; made by `Inbox.begin`."""

    def __init__(self, inbox: Inbox, task_id: str) -> None:
        self.n_bytes = 0
        self._inbox = inbox
        self._task_id = task_id
        self._temporary = inbox.path / f"{task_id}.tmp"
        self._doc_ids: set[str] = set()
        self._n_documents = 0
        with storage_errors(inbox.path, "inbox"):
            inbox.path.mkdir(exist_ok=True)
            self._stream: BinaryIO = open(self._temporary, "wb")  # closed by finish or abort

    def add(self, line: Line | LineProblem) -> None:
        """Write one document, or why there is none; a document that is no JSON becomes a problem."""
        if isinstance(line, Line):
            try:
                self._write([line.number, line.document.model_dump(exclude_unset=True)])
            except (ValueError, RecursionError) as error:
                line = LineProblem(line.number, f"not JSON: {error}")
            else:
                self._doc_ids.add(line.document.doc_id)
                self._n_documents += 1
                return
        self._write([line.line, line.message])

    def _write(self, told: list[Any]) -> None:
        content = json.dumps(told, allow_nan=False).encode()
        with storage_errors(self._inbox.path, "inbox"):
            self.n_bytes += self._stream.write(b"%08x %s\n" % (zlib.crc32(content), content))

    def finish(self) -> Entry:
        """Make it durable and return it: from now on it will be written, after those before it."""
        path = self._inbox.next_path(self._task_id)
        with storage_errors(path, "inbox"):
            self._stream.close()
            sync(self._temporary)
            self._temporary.rename(path)
            sync(path.parent)
        return Entry(path, self._task_id, self._n_documents, self.n_bytes, frozenset(self._doc_ids))

    def abort(self) -> None:
        """Forget it."""
        self._stream.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.abort()


class Inbox:
    """The accepted imports of one collection.

    Parameters
    ----------
    path : Path
        Its folder; made by the first import.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0

    def entries(self) -> list[Entry]:
        """Return what a service that ended left to do, in order."""
        if not self.path.is_dir():
            return []
        for half in self.path.glob("*.tmp"):
            half.unlink()
        found = []
        for path in sorted(self.path.glob(f"*{_SUFFIX}")):
            number, _, task_id = path.name.removesuffix(_SUFFIX).partition("-")
            self._next = max(self._next, int(number) + 1)
            doc_ids = []
            with open(path, "rb") as stream:
                for raw in stream:
                    if content := _checked(raw):
                        _, told = json.loads(content)
                        if not isinstance(told, str):
                            doc_ids.append(told["doc_id"])
            size = path.stat().st_size
            found.append(Entry(path, task_id, len(doc_ids), size, frozenset(doc_ids)))
        return found

    def begin(self, task_id: str) -> EntryWriter:
        """Return a new import."""
        return EntryWriter(self, task_id)

    def next_path(self, task_id: str) -> Path:
        """Return the file of an import that is complete, behind those before it."""
        number, self._next = self._next, self._next + 1
        return self.path / f"{number:010d}-{task_id}{_SUFFIX}"

    def remove(self, entry: Entry) -> None:
        """Forget an import whose documents are written."""
        with storage_errors(entry.path, "inbox"):
            entry.path.unlink(missing_ok=True)
            sync(self.path)
