"""Training examples with negatives and teacher scores, in the forms in which they are published.

Two kinds: `Example` carries texts, `IdExample` the ids of queries and passages of a collection
(`lsr.data.lookup` turns the second into the first). Scores, where there are any, are a teacher's,
one for every positive, then one for every negative.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lsr.core.errors import ArgumentError, DataError
from lsr.data.bad_lines import BadLines, read_records
from lsr.data.base import Dataset
from lsr.data.fields import parse_id, parse_json, parse_object

__all__ = [
    "Example",
    "IdExample",
    "read_examples",
    "read_hard_negatives",
    "read_id_triples",
    "read_scored_lists",
    "read_text_triples",
    "split_examples",
]


class Example(NamedTuple):
    """A query with passages that answer it and passages that do not.

    `scores` has one number a positive, then one a negative; None where there is no teacher.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    source: str = ""


class IdExample(NamedTuple):
    """The same by ids: of a query and of documents of a collection."""

    query_id: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None


def read_examples(path: Path, *, bad: BadLines | None = None) -> Iterator[Example]:
    """Yield the examples of a JSONL file of texts: pairs, triples, n-way lists, with scores or not.

    A line has ``query`` (or ``anchor``), ``positive`` or ``positives`` or ``positive_passages``,
    optionally the same of negatives, ``scores`` and ``source``. A passage is a text, or an object
    with ``text`` and maybe ``title``; one or a list of them.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line has no query, no positive, an empty text, or scores that do not fit, beyond the
        budget of `bad`.
    """
    default = path.name.split(".")[0]
    return read_records(path, lambda line: _parse_example(line, default), bad or BadLines())


def _parse_example(line: str, default_source: str) -> Example:
    record = parse_object(line)
    query = record.get("query", record.get("anchor"))
    if not isinstance(query, str) or not query.strip():
        raise DataError('No text in the field "query" (or "anchor").')
    positives = _passages(record, "positive")
    if not positives:
        raise DataError('No passage in "positive", "positives" or "positive_passages".')
    negatives = _passages(record, "negative")
    scores = _scores(record.get("scores"), len(positives) + len(negatives))
    source = record.get("source", default_source)
    if not isinstance(source, str):
        raise DataError('The field "source" must be a name.')
    return Example(query, positives, negatives, scores, source)


def _passages(record: dict[str, Any], role: str) -> tuple[str, ...]:
    names = [n for n in (role, f"{role}s", f"{role}_passages") if n in record]
    if len(names) > 1:
        raise DataError(f"Both {names[0]!r} and {names[1]!r} are given; one is enough.")
    value = record[names[0]] if names else []
    return tuple(_passage(p, names[0]) for p in (value if isinstance(value, list) else [value]))


def _passage(value: Any, field: str) -> str:
    title = ""
    if isinstance(value, dict):
        title, value = value.get("title") or "", value.get("text")
    if not isinstance(value, str) or not isinstance(title, str):
        raise DataError(f"{field!r} must hold texts, or objects with a title and a text.")
    text = f"{title} {value}".strip()
    if not text:
        raise DataError(f"{field!r} holds an empty text.")
    return text


def _scores(value: Any, expected: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != expected:
        seen = f"{len(value)} of them" if isinstance(value, list) else "no list"
        raise DataError(
            f'"scores" must have {expected} numbers, positives first, then negatives; got {seen}.'
        )
    return tuple(_score(score) for score in value)


def _score(value: Any) -> float:
    try:
        # A boolean is a number to Python, and a mistake here.
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"The score {value!r:.40} is no finite number.")
    return score


def read_text_triples(path: Path, *, bad: BadLines | None = None) -> Iterator[Example]:
    """Yield MS MARCO's ``triples.train.small.tsv``: query, positive, negative between tabs.

    Raises
    ------
    DataError, RecordError
        As `read_examples`.
    """
    source = path.name.split(".")[0]

    def parse(line: str) -> Example:
        parts = line.split("\t")
        if len(parts) != 3 or not all(part.strip() for part in parts):
            raise DataError(
                f"{len(parts)} columns, expected 3 texts (query, positive, negative), none empty."
            )
        return Example(parts[0], (parts[1],), (parts[2],), None, source)

    return read_records(path, parse, bad or BadLines())


def read_id_triples(path: Path, *, bad: BadLines | None = None) -> Iterator[IdExample]:
    """Yield triples of ids, with the two teacher scores or without.

    Three columns are MS MARCO's ``qidpidtriples``: query, positive, negative. Five are the form
    in which cross-encoder scores for MarginMSE are published: score of the positive, score of
    the negative, query, positive, negative.

    Raises
    ------
    DataError, RecordError
        As `read_examples`.

    References
    ----------
    Hofstätter et al.: Improving Efficient Neural Ranking Models with Cross-Architecture
    Knowledge Distillation, arXiv 2010.02666.
    """

    def parse(line: str) -> IdExample:
        parts = line.split()
        if len(parts) not in (3, 5):
            raise DataError(
                f"{len(parts)} columns, expected 3 (query, positive, negative) or 5 "
                "(score of the positive, of the negative, query, positive, negative)."
            )
        query_id, positive, negative = parts[-3:]
        scores = tuple(_score(part) for part in parts[:-3]) or None
        return IdExample(query_id, (positive,), (negative,), scores)

    return read_records(path, parse, bad or BadLines())


def read_scored_lists(
    path: Path, *, n_positives: int = 1, bad: BadLines | None = None
) -> Iterator[IdExample]:
    """Yield n-way lists of ids with scores: ``[query_id, [doc_id, score], …]``, a JSON list a line.

    Parameters
    ----------
    path : Path
        The form in which ColBERTv2's distillation lists are published (``examples_64.json``).
    n_positives : int
        How many of the first documents are positives; distillation treats all alike.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    DataError, RecordError
        As `read_examples`.

    References
    ----------
    Santhanam et al.: ColBERTv2, NAACL 2022, section 3.2.
    """
    if n_positives < 0:
        raise ArgumentError(f"n_positives must be 0 or more, got {n_positives}.")

    def parse(line: str) -> IdExample:
        record = parse_json(line)
        if (
            not isinstance(record, list)
            or len(record) < 2
            or not all(isinstance(entry, list) and len(entry) == 2 for entry in record[1:])
        ):
            raise DataError("Expected [query_id, [doc_id, score], …].")
        ids = tuple(parse_id(entry[0], "A document id") for entry in record[1:])
        scores = tuple(_score(entry[1]) for entry in record[1:])
        query_id = parse_id(record[0], "The query id")
        return IdExample(query_id, ids[:n_positives], ids[n_positives:], scores)

    return read_records(path, parse, bad or BadLines())


def read_hard_negatives(
    path: Path,
    *,
    systems: Collection[str] | None = None,
    n_negatives: int | None = None,
    bad: BadLines | None = None,
) -> Iterator[IdExample]:
    """Yield MS MARCO hard negatives: ``{"qid": …, "pos": [ids], "neg": {system: [ids]}}``.

    Parameters
    ----------
    path : Path
        The form of sentence-transformers' ``msmarco-hard-negatives.jsonl``; ``neg`` may be a
        plain list too.
    systems : collection of str, optional
        Use the negatives of these systems only; default all.
    n_negatives : int, optional
        At most so many of each system, its best first.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    DataError, RecordError
        As `read_examples`; also if a line lacks a system of `systems` altogether.
    """

    def parse(line: str) -> IdExample:
        record = parse_object(line)
        for field in ("qid", "pos", "neg"):
            if field not in record:
                raise DataError(f"No field {field!r}; expected qid, pos and neg.")
        query_id = parse_id(record["qid"], 'The query id (field "qid")')
        positives = _ids(record["pos"], "pos")
        if not positives:
            raise DataError(f"The query {query_id!r} has no positive.")
        found = record["neg"]
        lists = found if isinstance(found, dict) else {"": found}
        if systems is not None and not any(system in lists for system in systems):
            raise DataError(
                f"No negatives of {', '.join(sorted(systems))}; the line has "
                f"{', '.join(map(repr, lists)) or 'none'}."
            )
        negatives: dict[str, None] = {}
        for system, ids in lists.items():
            if systems is None or system in systems:
                # Several systems find the same passage; it counts once, in order of first sight.
                negatives.update(dict.fromkeys(_ids(ids, f"neg.{system}")[:n_negatives]))
        known = set(positives)
        return IdExample(query_id, positives, tuple(n for n in negatives if n not in known))

    return read_records(path, parse, bad or BadLines())


def _ids(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DataError(f"The field {field!r} must be a list of ids.")
    return tuple(parse_id(entry, f"An id of {field!r}") for entry in value)


def split_examples(dataset: Dataset, split: str = "train") -> Iterator[IdExample]:
    """Yield one example a judged query: its relevant documents, and those judged not relevant.

    Queries without a relevant document are left out. The judgements of a split are held in
    memory; the documents are not.

    Raises
    ------
    DatasetNotFoundError
        If there is no such split.
    """
    judged: dict[str, tuple[list[str], list[str]]] = {}
    for qrel in dataset.qrels(split):
        relevant, other = judged.setdefault(qrel.query_id, ([], []))
        (relevant if qrel.relevance > 0 else other).append(qrel.doc_id)
    for query_id, (relevant, other) in judged.items():
        if relevant:
            yield IdExample(query_id, tuple(relevant), tuple(other))
