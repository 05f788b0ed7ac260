"""Writing documents into a live collection: encoded, stored, acknowledged, one batch at a time.

Writes run in a thread of their own, so that encoding documents takes no thread from searches.
Only so many may wait: beyond that callers are told to come back (429), which keeps memory flat
however fast they send.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from indexing.collection import UpsertResult
from lsr.core.errors import (
    ArgumentError,
    BackPressureError,
    DataError,
    NotReadyError,
    RequestError,
)
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.encoders.base import Encoder
from serving.collection_source import CollectionSource
from serving.engine import Engine
from serving.schemas_writing import DocumentIn

__all__ = ["Imported", "LineProblem", "Writer", "collection_of", "import_lines", "upsert"]

T = TypeVar("T")
MAX_LINE_BYTES = 4 << 20
_IMPORT_BATCH = 256
_MAX_PROBLEMS = 1000


def collection_of(engine: Engine) -> CollectionSource:
    """Return the collection behind an engine.

    Raises
    ------
    ArgumentError
        If it is an index folder, or open for reading only.
    """
    source = engine.source
    if not isinstance(source, CollectionSource):
        raise ArgumentError(
            f"{engine.name!r} is an index folder, which does not change.",
            hint="Documents are written to live collections: lsr index create.",
        )
    if not source.updatable:
        raise ArgumentError(
            f"The collection {engine.name!r} is served for reading only.",
            hint="Start the service without --read-only.",
        )
    return source


def upsert(engine: Engine, documents: Sequence[DocumentIn]) -> UpsertResult:
    """Encode and write documents: all of them, durably, or none.

    Raises
    ------
    ArgumentError
        If a document has no vector and only the query side of the encoder is here.
    DataError
        If a document breaks a rule.
    """
    source = collection_of(engine)
    texts = [document.record() for document in documents]
    vectors: list[SparseVector | None] = [
        None if document.vector is None else engine.queries.vector(document.vector)
        for document in documents
    ]
    missing = [at for at, vector in enumerate(vectors) if vector is None]
    if missing:
        encoder = engine.encoder
        if not isinstance(encoder, Encoder):
            raise ArgumentError(
                f"The collection {engine.name!r} has no document encoder here.",
                hint="Send each document's `vector`, encoded with the collection's encoder.",
            )
        encoded = encoder.encode_documents([texts[at].content for at in missing])
        for row, at in enumerate(missing):
            vectors[at] = encoded.row(row)
    rows = [vector for vector in vectors if vector is not None]
    return source.upsert(texts, SparseMatrix.from_rows(rows, len(engine.vocabulary)))


class Writer:
    """Runs the writes of one collection, one after another.

    Parameters
    ----------
    name : str
        Of the collection.
    max_waiting : int
        More waiting writes are refused with `BackPressureError`.
    """

    def __init__(self, name: str, *, max_waiting: int) -> None:
        self._name = name
        self._max_waiting = max_waiting
        self._pending = 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"lsr-write-{name}")
        self._closed = False

    @property
    def pending(self) -> int:
        """Writes that run or wait."""
        return self._pending

    async def run(self, work: Callable[[], T], *, patient: bool = False) -> T:
        """Return what `work` returns; its turn comes after the writes before it.

        Parameters
        ----------
        work : callable
            Runs in the writer's thread.
        patient : bool
            Wait however many wait already: for a stream that sends its next batch only then.

        Raises
        ------
        BackPressureError
            If too many wait already.
        NotReadyError
            If the writer was closed.
        """
        if self._closed:
            raise NotReadyError("The service is shutting down.")
        if self._pending >= self._max_waiting and not patient:
            raise BackPressureError(
                f"{self._pending} writes to {self._name!r} wait already.", retry_after_s=1
            )
        self._pending += 1
        try:
            # Not cancelled with its request: a write that began ends.
            loop = asyncio.get_running_loop()
            return await asyncio.shield(loop.run_in_executor(self._executor, work))
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Finish what was taken; blocks."""
        self._closed = True
        self._executor.shutdown()


class LineProblem(NamedTuple):
    """A line that was not written, and why."""

    line: int
    message: str


class Imported(NamedTuple):
    """What an import did; `problems` holds the first thousand."""

    n_added: int
    n_replaced: int
    n_failed: int
    problems: list[LineProblem]


async def import_lines(
    chunks: AsyncIterator[bytes], write: Callable[[list[DocumentIn]], Awaitable[UpsertResult]]
) -> Imported:
    """Write the documents of a stream of JSON lines, a batch at a time.

    A line that cannot be used is reported and the rest goes on; what was written stays.

    Parameters
    ----------
    chunks : async iterator of bytes
        The stream.
    write : callable
        Coroutine function that writes a batch and returns an `UpsertResult`.
    """
    added = replaced = failed = 0
    problems: list[LineProblem] = []
    batch: list[tuple[int, DocumentIn]] = []

    def refuse(line: int, message: str) -> None:
        nonlocal failed
        failed += 1
        if len(problems) < _MAX_PROBLEMS:
            problems.append(LineProblem(line, message))

    async def flush() -> None:
        nonlocal added, replaced
        if not batch:
            return
        try:
            results = [await write([document for _, document in batch])]
        except DataError:
            # One bad document fails its batch: find out which, one by one.
            results = []
            for line, document in batch:
                try:
                    results.append(await write([document]))
                except DataError as error:
                    refuse(line, str(error))
        added += sum(result.n_added for result in results)
        replaced += sum(result.n_replaced for result in results)
        batch.clear()

    number = 0
    async for line in _lines(chunks):
        number += 1
        if not line.strip():
            continue
        try:
            batch.append((number, DocumentIn.model_validate(json.loads(line))))
        except ValidationError as error:
            refuse(number, "; ".join(f"{_where(p)}: {p['msg']}" for p in error.errors()))
        except (ValueError, RecursionError) as error:
            refuse(number, f"not JSON: {error}")
        if len(batch) >= _IMPORT_BATCH:
            await flush()
    await flush()
    return Imported(added, replaced, failed, sorted(problems))


def _where(problem: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"]) or "document"


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise RequestError(
                f"A line is longer than {MAX_LINE_BYTES:,} bytes.",
                hint="Send one JSON document a line.",
            )
    yield rest
