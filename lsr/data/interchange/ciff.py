"""The Common Index File Format: postings by token, for PISA, BMP, JASS, Lucene and others.

Length-prefixed protobuf messages: a header, one postings list a token (in the order of the
tokens' bytes, documents as gaps), one record a document. Weights must be whole numbers. The
header's free text carries, as JSON, what else a reader needs: encoder, idf convention, scale.

The messages are described here in full, so that the ``protobuf`` package suffices and no
generated code is kept.

References
----------
Lin et al.: Supporting Interoperability Between Open-Source Search Engines with the Common Index
File Format, SIGIR 2020.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lsr.core.errors import DataError, MissingDependencyError
from lsr.core.files import create_bytes, open_bytes
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from lsr.data.interchange.impacts import DEFAULT_SCALE, to_impacts
from lsr.data.vector_jsonl import iter_rows
from lsr.data.vectors import VectorCollection

__all__ = ["CiffIndex", "read_ciff", "read_ciff_description", "write_ciff"]

_VERSION = 1
_PIECE_BYTES = 1 << 20
# (name, number, type); types are those of protobuf's descriptor, "+" marks a repeated field.
_FIELDS = {
    "Header": [
        ("version", 1, "INT32"),
        ("num_postings_lists", 2, "INT32"),
        ("num_docs", 3, "INT32"),
        ("total_postings_lists", 4, "INT32"),
        ("total_docs", 5, "INT32"),
        ("total_terms_in_collection", 6, "INT64"),
        ("average_doclength", 7, "DOUBLE"),
        ("description", 8, "STRING"),
    ],
    "Posting": [("docid", 1, "INT32"), ("tf", 2, "INT32")],
    "PostingsList": [
        ("term", 1, "STRING"),
        ("df", 2, "INT64"),
        ("cf", 3, "INT64"),
        ("postings", 4, "+Posting"),
    ],
    "DocRecord": [
        ("docid", 1, "INT32"),
        ("collection_docid", 2, "STRING"),
        ("doclength", 3, "INT32"),
    ],
}


@functools.cache
def _messages() -> dict[str, Any]:
    """Return the message classes by name, and protobuf's module of length-prefixed messages."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, proto
    except ImportError:
        raise MissingDependencyError(
            "google.protobuf", extra="interchange", purpose="Reading and writing CIFF files"
        ) from None
    package = "lsr.ciff"
    file = descriptor_pb2.FileDescriptorProto(name="lsr_ciff.proto", package=package)
    file.syntax = "proto3"
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.startswith("+"):
                field.label, field.type = kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE
                field.type_name = f".{package}.{kind[1:]}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind}")
    # A pool of our own: another package may have described messages of these names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in _FIELDS
    }
    return {**classes, "proto": proto}


def write_ciff(collection: VectorCollection, path: Path, *, scale: float = DEFAULT_SCALE) -> int:
    """Write a collection as one CIFF file and return how many postings were written.

    The postings lists need the whole collection by columns: some 12 bytes a weight of memory.
    Empty documents keep their record, tokens without postings get no list.

    Parameters
    ----------
    collection : VectorCollection
        What is written.
    path : Path
        The file, by custom ``.ciff``; ``.gz`` and ``.zst`` are not for this format.
    scale : float
        See `to_impacts`.

    Raises
    ------
    MissingDependencyError
        If protobuf is not installed.
    DataError
        If an impact is too large.
    """
    messages = _messages()
    serialise = messages["proto"].serialize_length_prefixed
    rows = [to_impacts(vector, scale) for _, vector in iter_rows(collection)]
    matrix = SparseMatrix.from_rows(rows, collection.vocabulary_size)
    lengths = np.array([int(row.weights.sum(dtype=np.int64)) for row in rows], dtype=np.int64)
    del rows
    columns = matrix.to_scipy().tocsc()
    columns.sort_indices()
    tokens = collection.vocabulary.tokens
    used = np.flatnonzero(np.diff(columns.indptr)).tolist()
    used.sort(key=lambda term: tokens[term].encode("utf-8"))
    details = collection.manifest.details
    about = {
        "encoder": details["encoder"],
        "idf": details["idf"],
        "scale": scale,
        "vocabulary_fingerprint": details["vocabulary_fingerprint"],
    }
    header = messages["Header"](
        version=_VERSION,
        num_postings_lists=len(used),
        num_docs=matrix.n_rows,
        total_postings_lists=len(used),
        total_docs=matrix.n_rows,
        total_terms_in_collection=int(lengths.sum()),
        average_doclength=float(lengths.mean()) if len(lengths) else 0.0,
        description=json.dumps(about),
    )
    with create_bytes(path) as sink:
        serialise(header, sink)
        for term in used:
            low, high = int(columns.indptr[term]), int(columns.indptr[term + 1])
            impacts = columns.data[low:high].astype(np.int64)
            gaps = np.diff(columns.indices[low:high], prepend=0)
            posting = messages["Posting"]
            postings = [
                posting(docid=gap, tf=impact)
                for gap, impact in zip(gaps.tolist(), impacts.tolist(), strict=True)
            ]
            found = messages["PostingsList"](
                term=tokens[term], df=high - low, cf=int(impacts.sum()), postings=postings
            )
            serialise(found, sink)
        numbered = enumerate(zip(collection.doc_ids(), lengths.tolist(), strict=True))
        for row, (doc_id, length) in numbered:
            record = messages["DocRecord"](docid=row, collection_docid=doc_id, doclength=length)
            serialise(record, sink)
    return int(matrix.indptr[-1])


def read_ciff_description(path: Path) -> str:
    """Return the free text of a file's header.

    Raises
    ------
    MissingDependencyError
        If protobuf is not installed.
    DataError
        If the file is missing or no CIFF file.
    """
    with open_bytes(path) as stream:
        return str(_read(_messages(), "Header", _Source(stream), path).description)


class CiffIndex(NamedTuple):
    """A CIFF file in memory.

    Attributes
    ----------
    matrix : SparseMatrix
        Documents by tokens; weights are the impacts (or term frequencies).
    doc_ids : sequence of str
        By row.
    vocabulary : Vocabulary
        The tokens in the order of the file.
    description : str
        The header's free text; `write_ciff` puts JSON there.
    """

    matrix: SparseMatrix
    doc_ids: Sequence[str]
    vocabulary: Vocabulary
    description: str


def read_ciff(path: Path, *, vocabulary: Vocabulary | None = None) -> CiffIndex:
    """Return the content of a CIFF file.

    Parameters
    ----------
    path : Path
        The file, plain, ``.gz`` or ``.zst``.
    vocabulary : Vocabulary, optional
        Columns are numbered after it; default, after the file.

    Raises
    ------
    MissingDependencyError
        If protobuf is not installed.
    DataError
        If the file is cut off, contradicts its header, or holds a token that is not in
        `vocabulary`.
    """
    messages = _messages()
    with open_bytes(path) as raw:
        stream = _Source(raw)
        header = _read(messages, "Header", stream, path)
        if header.num_docs < 0 or header.num_postings_lists < 0:
            raise DataError(f"{path} is no CIFF file: its header counts below zero.")
        tokens: list[str] = []
        documents: list[Any] = []
        impacts: list[Any] = []
        for _ in range(header.num_postings_lists):
            found = _read(messages, "PostingsList", stream, path)
            pairs = np.array([(p.docid, p.tf) for p in found.postings], dtype=np.int64)
            pairs = pairs.reshape(-1, 2)
            documents.append(np.cumsum(pairs[:, 0]))
            impacts.append(pairs[:, 1])
            tokens.append(found.term)
        rows: dict[int, str] = {}
        for _ in range(header.num_docs):
            record = _read(messages, "DocRecord", stream, path)
            rows[record.docid] = record.collection_docid
    if sorted(rows) != list(range(header.num_docs)):
        raise DataError(
            f"{path}: the document records are not numbered 0 to {header.num_docs - 1}."
        )
    found_vocabulary = Vocabulary(tokens)
    chosen = vocabulary if vocabulary is not None else found_vocabulary
    return CiffIndex(
        _matrix(path, documents, impacts, tokens, chosen, header.num_docs),
        [rows[row] for row in range(header.num_docs)],
        chosen,
        header.description,
    )


class _Source:
    """A stream that reads long messages in pieces: a damaged length costs no memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, n: int) -> bytes:
        parts = []
        while n > 0 and (part := self._stream.read(min(n, _PIECE_BYTES))):
            parts.append(part)
            n -= len(part)
        return b"".join(parts)


def _read(messages: dict[str, Any], name: str, stream: _Source, path: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        message = messages["proto"].parse_length_prefixed(messages[name], stream)
    except (DecodeError, ValueError, EOFError) as error:
        raise DataError(f"{path} is cut off or no CIFF file: {error}.") from error
    if message is None:
        raise DataError(f"{path} is cut off: the next {name} is missing.")
    return message


def _matrix(
    path: Path,
    documents: list[Any],
    impacts: list[Any],
    tokens: list[str],
    vocabulary: Vocabulary,
    n_documents: int,
) -> SparseMatrix:
    from scipy.sparse import coo_array

    terms = []
    for token, found in zip(tokens, documents, strict=True):
        term = vocabulary.term(token)
        if term is None:
            raise DataError(
                f"{path}: the token {token!r} is not in the vocabulary of {len(vocabulary)}."
            )
        if len(found) and (found[0] < 0 or found[-1] >= n_documents or (np.diff(found) <= 0).any()):
            raise DataError(
                f"{path}: the documents of {token!r} do not ascend below {n_documents}."
            )
        terms.append(np.full(len(found), term, dtype=np.int64))
    empty = np.empty(0, dtype=np.int64)
    cells = coo_array(
        (
            np.concatenate([empty, *impacts]).astype(np.float32),
            (np.concatenate([empty, *documents]), np.concatenate([empty, *terms])),
        ),
        shape=(n_documents, len(vocabulary)),
    )
    return SparseMatrix.from_scipy(cells)
