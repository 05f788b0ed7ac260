"""Runs and judgements in the formats of trec_eval.

A run line is ``query_id Q0 doc_id rank score tag``, a judgement ``query_id iteration doc_id
relevance``. Scores are written with full precision: rounding makes ties that were none.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from lsr.core.artifact import storage_errors
from lsr.core.errors import DataError, DuplicateIdError, RecordError
from lsr.core.files import open_text
from lsr.core.records import Qrel, Run, ScoredDoc

__all__ = ["read_qrels", "read_run", "write_qrels", "write_run"]


def _fields(path: Path, expected: int, form: str) -> Iterator[tuple[int, list[str]]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != expected:
                raise RecordError(
                    f"{len(parts)} fields, expected {expected}: {form}.",
                    path=str(path),
                    line=number,
                )
            yield number, parts


def write_run(path: Path, run: Run, *, tag: str = "lsr") -> int:
    """Write a run and return its number of lines; ranks are counted in the order given.

    Parameters
    ----------
    path : Path
        The file; ``.gz`` compresses.
    run : iterable of ScoredDoc
        Grouped by query, best first.
    tag : str
        Name of the system, without white space.

    Raises
    ------
    DataError
        If an identifier or the tag holds white space, which the format cannot carry.
    """
    if not tag or any(c.isspace() for c in tag):
        raise DataError(f"A run's tag must be one word, got {tag!r}.")
    count = rank = 0
    last: str | None = None
    with storage_errors(path, "run"):
        stream: IO[str] = (
            gzip.open(path, "wt", encoding="utf-8")
            if path.suffix == ".gz"
            else open(path, "w", encoding="utf-8")
        )
        with stream:
            for query_id, doc_id, score in run:
                rank = rank + 1 if query_id == last else 1
                last = query_id
                for name in (query_id, doc_id):
                    if not name or any(c.isspace() for c in name):
                        raise DataError(f"The id {name!r} is empty or has white space.")
                # The shortest text that reads back as the same float32 or float64.
                shown = (
                    np.format_float_positional(score, trim="0")
                    if isinstance(score, np.floating)
                    else repr(float(score))
                )
                stream.write(f"{query_id} Q0 {doc_id} {rank} {shown} {tag}\n")
                count += 1
    return count


def read_run(path: Path) -> Iterator[ScoredDoc]:
    """Yield the lines of a run in file order.

    Raises
    ------
    RecordError
        If a line is malformed or a score is no finite number.
    DuplicateIdError
        If a document stands twice for one query.
    """
    seen: set[tuple[str, str]] = set()
    for number, parts in _fields(Path(path), 6, "query_id Q0 doc_id rank score tag"):
        query_id, _, doc_id, _, raw, _ = parts
        try:
            score = float(raw)
        except ValueError:
            score = float("nan")
        if not np.isfinite(score):
            raise RecordError(f"The score {raw!r} is no number.", path=str(path), line=number)
        if (query_id, doc_id) in seen:
            raise DuplicateIdError(
                f"{path}, line {number}: document {doc_id!r} stands twice for query {query_id!r}."
            )
        seen.add((query_id, doc_id))
        yield ScoredDoc(query_id, doc_id, score)


def write_qrels(path: Path, qrels: Iterable[Qrel]) -> int:
    """Write judgements and return their number."""
    count = 0
    with storage_errors(path, "judgements"), open(path, "w", encoding="utf-8") as stream:
        for qrel in qrels:
            stream.write(f"{qrel.query_id} {qrel.iteration} {qrel.doc_id} {qrel.relevance}\n")
            count += 1
    return count


def read_qrels(path: Path) -> Iterator[Qrel]:
    """Yield judgements in file order.

    Raises
    ------
    RecordError
        If a line is malformed or the relevance is no integer.
    """
    for number, parts in _fields(Path(path), 4, "query_id iteration doc_id relevance"):
        query_id, iteration, doc_id, raw = parts
        try:
            relevance = int(raw)
        except ValueError:
            raise RecordError(
                f"The relevance {raw!r} is no integer.", path=str(path), line=number
            ) from None
        yield Qrel(query_id, doc_id, relevance, iteration)
