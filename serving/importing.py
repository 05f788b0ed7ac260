"""Streams of JSON lines: from bytes to documents and problems, and to what an import did."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from indexing.collection import UpsertResult
from lsr.core.errors import DataError, QueryError, RequestError
from serving.schemas_writing import DocumentIn

__all__ = ["Imported", "Line", "LineProblem", "import_lines", "read_lines"]

MAX_LINE_BYTES = 4 << 20
_IMPORT_BATCH = 256
_MAX_PROBLEMS = 1000


class Line(NamedTuple):
    """A line that holds a document."""

    number: int
    document: DocumentIn


class LineProblem(NamedTuple):
    """A line that was not written, and why."""

    line: int
    message: str


class Imported:
    """What an import did; `problems` holds the first thousand."""

    def __init__(self) -> None:
        self.n_added = 0
        self.n_replaced = 0
        self.n_failed = 0
        self.problems: list[LineProblem] = []

    def refuse(self, line: int, message: str) -> None:
        """Note a line that is not written."""
        self.n_failed += 1
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(LineProblem(line, message))

    async def write(
        self,
        batch: Sequence[Line],
        write: Callable[[list[DocumentIn]], Awaitable[UpsertResult]],
    ) -> None:
        """Write a batch; where one of its documents breaks a rule, each by itself.

        Raises
        ------
        LsrError
            What `write` raises for another reason than the documents.
        """
        if not batch:
            return
        refused: list[LineProblem] = []
        try:
            results = [await write([line.document for line in batch])]
        except (DataError, QueryError):
            results = []
            for line in batch:
                try:
                    results.append(await write([line.document]))
                except (DataError, QueryError) as error:
                    refused.append(LineProblem(line.number, str(error)))
        for problem in refused:
            self.refuse(*problem)
        self.n_added += sum(result.n_added for result in results)
        self.n_replaced += sum(result.n_replaced for result in results)

    def body(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "n_added": self.n_added,
            "n_replaced": self.n_replaced,
            "n_failed": self.n_failed,
            "problems": [problem._asdict() for problem in sorted(self.problems)],
        }


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
    done = Imported()
    batch: list[Line] = []
    async for line in read_lines(chunks):
        if isinstance(line, LineProblem):
            done.refuse(line.line, line.message)
            continue
        batch.append(line)
        if len(batch) >= _IMPORT_BATCH:
            await done.write(batch, write)
            batch = []
    await done.write(batch, write)
    return done


async def read_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[Line | LineProblem]:
    """Yield the documents of a stream of JSON lines, and what is wrong with the other lines.

    Raises
    ------
    RequestError
        If a line is too long to be one document.
    """
    number = 0
    async for line in _split(chunks):
        number += 1
        if not line.strip():
            continue
        try:
            yield Line(number, DocumentIn.model_validate(json.loads(line)))
        except ValidationError as error:
            told = "; ".join(f"{_where(p)}: {p['msg']}" for p in error.errors())
            yield LineProblem(number, told)
        except (ValueError, RecursionError) as error:
            yield LineProblem(number, f"not JSON: {error}")


def _where(problem: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"]) or "document"


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
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
