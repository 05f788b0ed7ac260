"""Judgements in the two formats that are about, told apart by the number of columns.

Three columns are BEIR's ``query-id  corpus-id  score``, with or without that header; four are
trec_eval's ``query_id  iteration  doc_id  relevance``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.core.errors import DataError, DuplicateIdError
from lsr.core.records import Qrel
from lsr.data.bad_lines import BadLines, read_records

__all__ = ["read_any_qrels"]


class _Parser:
    def __init__(self) -> None:
        self.columns = 0
        self.seen: dict[tuple[str, str], int] = {}

    def __call__(self, line: str) -> Qrel | None:
        """Return the judgement of one line, None for the header or a repetition."""
        parts = line.split("\t") if "\t" in line else line.split()
        parts = [part.strip() for part in parts]
        first = self.columns == 0
        if first:
            if len(parts) not in (3, 4):
                raise DataError(
                    f"{len(parts)} columns, expected 3 (query-id, corpus-id, score) or "
                    "4 (query_id, iteration, doc_id, relevance)."
                )
            self.columns = len(parts)
        if len(parts) != self.columns:
            raise DataError(f"{len(parts)} columns where the first line has {self.columns}.")
        query_id, doc_id, raw = parts[0], parts[-2], parts[-1]
        try:
            relevance = int(raw)
        except ValueError:
            if first and len(parts) == 3 and not any(c.isdigit() for c in raw):
                return None
            raise DataError(f"The relevance {raw!r} is no whole number.") from None
        if not query_id or not doc_id:
            raise DataError("A query id or a document id is empty.")
        known = self.seen.get((query_id, doc_id))
        if known is not None:
            if known == relevance:
                return None
            raise DuplicateIdError(
                f"Query {query_id!r} and document {doc_id!r} are judged twice, "
                f"as {known} and as {relevance}."
            )
        self.seen[query_id, doc_id] = relevance
        return Qrel(query_id, doc_id, relevance, parts[1] if len(parts) == 4 else "0")


def read_any_qrels(path: Path, *, bad: BadLines | None = None) -> Iterator[Qrel]:
    """Yield the judgements of a BEIR or trec_eval file in file order.

    A judgement that is repeated with the same relevance is yielded once.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line has the wrong number of columns, a relevance that is no whole number, or
        contradicts another line, beyond the budget of `bad`.
    """
    for qrel in read_records(path, _Parser(), bad or BadLines()):
        if qrel is not None:
            yield qrel
