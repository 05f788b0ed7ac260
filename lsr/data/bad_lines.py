"""Lines that cannot be used: an error by default, or skipped within a budget and reported.

One `BadLines` goes through a whole command, so that ``--skip-bad-lines N`` bounds all files
together; it remembers what it skipped and says so at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lsr.core.errors import (
    ArgumentError,
    DataError,
    DuplicateIdError,
    DuplicateRecordError,
    RecordError,
    WeightError,
    WeightRecordError,
)
from lsr.core.files import open_bytes

__all__ = ["BadLines", "decode_lines", "parse_lines", "read_lines", "read_records"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

_SHOWN = 20
_BOM = b"\xef\xbb\xbf"


class BadLines:
    """A budget of lines that may be skipped, and the account of those that were.

    Parameters
    ----------
    budget : int
        How many bad lines are skipped before the next one is an error; 0 tolerates none.

    Examples
    --------
    >>> bad = BadLines(1)
    >>> bad.skip(RecordError("No id.", path="a.jsonl", line=7))
    >>> bad.n_skipped
    1
    >>> print(bad.report())
    1 bad line skipped (budget 1):
      a.jsonl, line 7: No id.
    """

    def __init__(self, budget: int = 0) -> None:
        if budget < 0:
            raise ArgumentError(f"--skip-bad-lines must be 0 or more, got {budget}.")
        self.budget = budget
        self.examples: list[RecordError] = []
        # A collection is often read twice (counted, then encoded): a line is one line.
        self._seen: set[tuple[str, int]] = set()

    @property
    def n_skipped(self) -> int:
        """Number of lines skipped so far."""
        return len(self._seen)

    def skip(self, error: RecordError) -> None:
        """Account for one bad line.

        Raises
        ------
        RecordError
            `error` itself, if the budget is spent.
        """
        where = (error.path, error.line)
        if where in self._seen:
            return
        if self.n_skipped >= self.budget:
            if self.budget:
                advice = (
                    f"It is one more than the {self.budget} that --skip-bad-lines "
                    f"{self.budget} allows."
                )
            else:
                advice = "Correct the line, or pass --skip-bad-lines N to skip up to N such lines."
            error.hint = f"{error.hint} {advice}".strip()
            raise error
        self._seen.add(where)
        if len(self.examples) < _SHOWN:
            self.examples.append(error)

    def report(self) -> str:
        """Return what was skipped, the first 20 lines with their reasons."""
        if not self.n_skipped:
            return "No bad lines."
        lines = "line" if self.n_skipped == 1 else "lines"
        shown = "".join(f"\n  {error.message}" for error in self.examples)
        more = self.n_skipped - len(self.examples)
        rest = f"\n  … and {more} more" if more else ""
        return f"{self.n_skipped} bad {lines} skipped (budget {self.budget}):{shown}{rest}"

    def log(self) -> None:
        """Log the report as a warning, if a line was skipped."""
        if self.n_skipped:
            logger.warning("%s", self.report())

    def to_json(self) -> dict[str, Any]:
        """Return the account for ``--json`` output and manifests."""
        return {
            "budget": self.budget,
            "n_skipped": self.n_skipped,
            "examples": [
                {"path": e.path, "line": e.line, "code": e.code, "message": e.reason}
                for e in self.examples
            ],
        }


def read_lines(path: Path, bad: BadLines) -> Iterator[tuple[int, str]]:
    r"""Yield the number (from 1) and the text of every line that is not blank.

    Lines end at ``\n`` alone: texts of web pages hold lone carriage returns and the separators
    U+2028 and U+0085, at which Python's own text files would break them.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line is not UTF-8, beyond the budget.
    """
    with open_bytes(path) as stream:
        yield from decode_lines(stream, str(path), bad)


def decode_lines(stream: Iterable[bytes], name: str, bad: BadLines) -> Iterator[tuple[int, str]]:
    """Yield what `read_lines` yields, of an open stream that messages call `name`."""
    for number, raw in enumerate(stream, start=1):
        if number == 1 and raw.startswith(_BOM):
            raw = raw[len(_BOM) :]
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            bad.skip(
                RecordError(
                    f"Not UTF-8: byte {error.start + 1} of the line is "
                    f"0x{raw[error.start]:02x} ({error.reason}).",
                    path=name,
                    line=number,
                    hint="Convert the file, for example with iconv.",
                )
            )
            continue
        text = text.rstrip("\r\n")
        if text and not text.isspace():
            yield number, text


def read_records(path: Path, parse: Callable[[str], T], bad: BadLines) -> Iterator[T]:
    """Yield ``parse(line)`` for every line that is not blank.

    Parameters
    ----------
    path : Path
        The file; ``.gz`` and ``.zst`` are decompressed.
    parse : callable
        Raises a DataError that says what is wrong; its path and line are added here.
    bad : BadLines
        The budget.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line cannot be used, beyond the budget; duplicates and wrong weights raise its
        subclasses `DuplicateRecordError` and `WeightRecordError`.
    """
    yield from parse_lines(read_lines(path, bad), parse, str(path), bad)


def parse_lines(
    lines: Iterable[tuple[int, str]], parse: Callable[[str], T], name: str, bad: BadLines
) -> Iterator[T]:
    """Yield ``parse(line)`` as `read_records` does, of numbered lines of a source `name`."""
    for number, line in lines:
        try:
            record = parse(line)
        except DataError as problem:
            bad.skip(_numbered(problem, name, number))
            continue
        yield record


def _numbered(problem: DataError, path: str, line: int) -> RecordError:
    kind = RecordError
    if isinstance(problem, DuplicateIdError):
        kind = DuplicateRecordError
    elif isinstance(problem, WeightError):
        kind = WeightRecordError
    return kind(problem.message, path=path, line=line, hint=problem.hint)
