"""Documents and queries from files of one JSON object a line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from lsr.core.errors import DuplicateIdError
from lsr.core.records import Document, Query
from lsr.data.bad_lines import BadLines, read_records
from lsr.data.base import UnjudgedDataset
from lsr.data.fields import BEIR_FIELDS, FieldMap, parse_object
from lsr.data.seen import SeenIds

__all__ = ["JsonlDataset", "count_lines", "read_documents", "read_queries", "unique_documents"]

logger = logging.getLogger(__name__)

# Counting lines reads a file at some GB/s; beyond this it would be felt at every start.
_COUNT_LIMIT_BYTES = 1 << 28


def read_documents(
    path: Path, *, fields: FieldMap = BEIR_FIELDS, bad: BadLines | None = None
) -> Iterator[Document]:
    """Yield the documents of a JSONL file, plain, ``.gz`` or ``.zst``.

    A document whose title and text are empty is kept: it counts, nothing finds it, and a warning
    at the end says how many there were.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line is not JSON, lacks a field, has one of the wrong type or repeats an id, beyond
        the budget of `bad`.
    """
    return unique_documents(path, lambda line: fields.document(parse_object(line)), bad)


def unique_documents(
    path: Path, parse: Callable[[str], Document], bad: BadLines | None = None
) -> Iterator[Document]:
    """Yield ``parse(line)`` for every line, with the checks of `read_documents`."""
    seen = SeenIds()
    n_empty, first_empty = 0, ""

    def parse_new(line: str) -> Document:
        document = parse(line)
        if not seen.add(document.doc_id):
            raise DuplicateIdError(
                f"The document id {document.doc_id!r} stands twice.",
                hint="Give every document its own id.",
            )
        return document

    for document in read_records(path, parse_new, bad or BadLines()):
        if not document.text.strip() and not document.title.strip():
            n_empty += 1
            first_empty = first_empty or document.doc_id
        yield document
    if n_empty:
        logger.warning(
            "%s: %d documents have neither title nor text (the first is %r); "
            "they are kept, but no query finds them.",
            path,
            n_empty,
            first_empty,
        )


def read_queries(
    path: Path, *, fields: FieldMap = BEIR_FIELDS, bad: BadLines | None = None
) -> Iterator[Query]:
    """Yield the queries of a JSONL file.

    Raises
    ------
    DataError, RecordError
        As `read_documents`; a query without text is an error too.
    """
    return unique_queries(path, lambda line: fields.query(parse_object(line)), bad)


def unique_queries(
    path: Path, parse: Callable[[str], Query], bad: BadLines | None = None
) -> Iterator[Query]:
    """Yield ``parse(line)`` for every line; an id that stands twice is an error."""
    seen = SeenIds()

    def parse_new(line: str) -> Query:
        query = parse(line)
        if not seen.add(query.query_id):
            raise DuplicateIdError(f"The query id {query.query_id!r} stands twice.")
        return query

    return read_records(path, parse_new, bad or BadLines())


def count_lines(path: Path) -> int | None:
    """Return the number of lines of a plain file of at most 256 MB, else None."""
    if path.suffix in (".gz", ".zst") or path.stat().st_size > _COUNT_LIMIT_BYTES:
        return None
    count, last = 0, b"\n"
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


class JsonlDataset(UnjudgedDataset):
    """A collection of one JSONL file of documents, without queries.

    Parameters
    ----------
    path : Path
        The file, plain, ``.gz`` or ``.zst``.
    fields : FieldMap
        What its fields mean.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.
    """

    def __init__(
        self, path: Path, *, fields: FieldMap = BEIR_FIELDS, bad: BadLines | None = None
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name.split(".")[0]
        self._fields = fields
        self._bad = bad

    def documents(self) -> Iterator[Document]:
        """Yield the documents in file order."""
        return read_documents(self.path, fields=self._fields, bad=self._bad)

    def n_documents(self) -> int | None:
        """Return the number of lines of a plain file of moderate size, else None."""
        return count_lines(self.path)
