"""The rows of a live collection's store, and the checksum that each of them carries."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lsr.core.errors import DataError
from lsr.core.manifest import Manifest
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, SparseVector

__all__ = [
    "LiveRow",
    "PreparedDocument",
    "SegmentRow",
    "StoreState",
    "Widths",
    "checksum",
    "document_checksum",
    "prepare",
    "row_checksum",
    "term_dtype",
]


class Widths(NamedTuple):
    """How many columns the vectors of a collection have; `dense` is 0 without a dense half."""

    sparse: int
    dense: int = 0

    @classmethod
    def of(cls, manifest: Manifest) -> Widths:
        """Return what a collection's manifest says."""
        half = manifest.details.get("dense")
        return cls(int(manifest.details["vocabulary_size"]), int(half["width"]) if half else 0)


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
    dense: Float32Array | None


class PreparedDocument(NamedTuple):
    """A document as it is stored, checked before a transaction begins."""

    doc_id: str
    title: str
    text: str
    metadata: str
    vector: bytes
    origins: bytes
    dense: bytes


def term_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """Return how terms are stored: in two bytes where the vocabulary allows it."""
    return np.dtype("<u2" if vocabulary_size <= 65_536 else "<i4")


def checksum(number: int, *parts: bytes) -> int:
    """Return the CRC-32 over a number and some byte strings, their lengths with them."""
    crc = zlib.crc32(number.to_bytes(8, "little", signed=True))
    for part in parts:
        crc = zlib.crc32(part, zlib.crc32(len(part).to_bytes(4, "little"), crc))
    return crc


def document_checksum(number: int, doc_id: str, title: str, text: str, metadata: str) -> int:
    """Return the checksum of a row of ``documents``."""
    return checksum(number, doc_id.encode(), title.encode(), text.encode(), metadata.encode())


def row_checksum(values: Sequence[Any]) -> int:
    """Return the checksum of the values of any other row."""
    parts = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    return checksum(0, *parts)


def prepare(
    document: Document,
    vector: SparseVector,
    origins: bytes = b"",
    dense: Float32Array | None = None,
) -> PreparedDocument:
    """Return a document as it is stored; `origins` are packed (`lsr.core.origins`), or empty.

    Dense vectors are kept in 32 bits: what was written comes back bit by bit, and a segment's rows
    are scored where they lie. In 16 bits they would take half the room, and could neither.

    Raises
    ------
    DataError
        If the id is empty, the metadata is not JSON, a string is not valid Unicode, or `origins`
        are not those of the vector's terms.
    """
    if origins:
        Origins.unpacked(origins, vector.nnz)
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
    terms = vector.terms.astype(term_dtype(vector.size)).tobytes()
    blob = terms + vector.weights.astype("<f4").tobytes()
    return PreparedDocument(
        document.doc_id,
        document.title,
        document.text,
        metadata,
        blob,
        origins,
        b"" if dense is None else dense.astype("<f4").tobytes(),
    )
