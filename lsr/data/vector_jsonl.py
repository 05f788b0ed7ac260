"""Encoded collections as text: ``{"id": "d1", "vector": {"token": 1.5, …}}``, one a line.

The common form in which learned sparse vectors are passed between systems. A line may hold more
fields; they are ignored. What is written is read back bit for bit: weights are float32 and
written with the fewest digits that say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.errors import DataError, DuplicateIdError, WeightError, near_names
from lsr.core.files import create_text
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines, read_records
from lsr.data.fields import parse_id, parse_object
from lsr.data.seen import SeenIds
from lsr.data.vectors import VectorCollection

__all__ = [
    "collect_vocabulary",
    "iter_rows",
    "parse_weights",
    "read_vectors",
    "shard_rows",
    "write_vectors_jsonl",
]

_ROWS_A_SHARD = 50_000
# The smallest double that rounds to infinity: the short decimal of the largest float32 is a
# little above that float32 itself.
_FLOAT32_LIMIT = 3.4028235677973366e38


def parse_weights(value: Any) -> tuple[list[str], list[float]]:
    """Return the tokens and the weights of one JSON vector.

    Raises
    ------
    DataError
        If it is no object of numbers.
    WeightError
        If a weight is negative, infinite, NaN or too large for float32.
    """
    if not isinstance(value, dict):
        raise DataError('The field "vector" must be an object {token: weight}.')
    for token, weight in value.items():
        if type(weight) is not float and type(weight) is not int:
            raise DataError(f"The weight of {token!r} is {weight!r:.40}, which is no number.")
        # Written so that NaN, which compares false with everything, is caught too.
        if not 0 <= weight < _FLOAT32_LIMIT:
            raise WeightError(
                f"The weight of {token!r} is {weight!r:.40}; weights must be finite and not "
                "negative.",
                hint="Look for what went wrong in the encoder that wrote the file.",
            )
    return list(value.keys()), [float(weight) for weight in value.values()]


class _Parser:
    """From a line to an id and a vector over a fixed vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._seen = SeenIds()

    def __call__(self, line: str) -> tuple[str, SparseVector]:
        record = parse_object(line, constants=True)
        doc_id, (tokens, weights) = _required(record)
        terms = [self._vocabulary.term(token) for token in tokens]
        if None in terms:
            token = tokens[terms.index(None)]
            near = (
                near_names(token, self._vocabulary.tokens) if len(self._vocabulary) < 5000 else ""
            )
            raise DataError(
                f"The token {token!r} is not in the vocabulary of {len(self._vocabulary)}.{near}",
                hint="Give the vocabulary of the encoder that wrote the file, or none to "
                "collect it from the file.",
            )
        if not self._seen.add(doc_id):
            raise DuplicateIdError(f"The id {doc_id!r} stands twice.")
        return doc_id, SparseVector.from_arrays(terms, weights, len(self._vocabulary))


def _required(record: dict[str, Any]) -> tuple[str, tuple[list[str], list[float]]]:
    for field in ("id", "vector"):
        if field not in record:
            raise DataError(
                f"No field {field!r}.", hint='Each line is {"id": …, "vector": {token: weight}}.'
            )
    return parse_id(record["id"], 'The id (field "id")'), parse_weights(record["vector"])


def collect_vocabulary(path: Path, *, bad: BadLines | None = None) -> Vocabulary:
    """Return every token of a file of vectors, in code point order.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line cannot be used, beyond the budget of `bad`.
    """
    tokens: set[str] = set()

    def collect(line: str) -> None:
        _, (names, weights) = _required(parse_object(line, constants=True))
        tokens.update(name for name, weight in zip(names, weights, strict=True) if weight)

    for _ in read_records(path, collect, bad or BadLines()):
        pass
    return Vocabulary(sorted(tokens))


def read_vectors(
    path: Path, vocabulary: Vocabulary, *, bad: BadLines | None = None
) -> Iterator[tuple[str, SparseVector]]:
    """Yield the id and the vector of every line.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line is not JSON, lacks a field or has a token that is not in `vocabulary`, beyond
        the budget of `bad`; its subclasses `WeightRecordError` for NaN, infinite and negative
        weights, `DuplicateRecordError` for ids that stand twice.
    """
    return read_records(path, _Parser(vocabulary), bad or BadLines())


def shard_rows(
    rows: Iterable[tuple[str, SparseVector]], size: int, *, rows_a_shard: int = _ROWS_A_SHARD
) -> Iterator[tuple[SparseMatrix, list[str]]]:
    """Yield matrices of at most `rows_a_shard` rows with their ids, as `write_vectors` takes them.

    Parameters
    ----------
    rows : iterable of (str, SparseVector)
        Ids and vectors.
    size : int
        Vocabulary size.
    rows_a_shard : int
        What is in memory at one time.
    """
    source = iter(rows)
    while part := list(islice(source, rows_a_shard)):
        yield SparseMatrix.from_rows([vector for _, vector in part], size), [i for i, _ in part]


def iter_rows(collection: VectorCollection) -> Iterator[tuple[str, SparseVector]]:
    """Yield the id and the vector of every document in row order."""
    ids = collection.doc_ids()
    for shard in collection.shards():
        for start, end in zip(shard.indptr[:-1].tolist(), shard.indptr[1:].tolist(), strict=True):
            yield (
                next(ids),
                SparseVector(shard.terms[start:end], shard.weights[start:end], shard.size),
            )


def _number(weight: np.float32) -> float:
    # The shortest decimal of the float32; as a double, json would write 17 digits of noise.
    return float(str(weight))


def write_vectors_jsonl(
    rows: Iterable[tuple[str, SparseVector]],
    tokens: Sequence[str],
    path: Path,
    *,
    number: Callable[[np.float32], float | int] = _number,
    extra: Callable[[str], dict[str, str]] | None = None,
) -> int:
    """Write vectors as JSON lines and return their number; the heaviest terms come first.

    Parameters
    ----------
    rows : iterable of (str, SparseVector)
        Ids and vectors, such as ``iter_rows(collection)``.
    tokens : sequence of str
        Of the vocabulary.
    path : Path
        The file; ``.gz`` and ``.zst`` compress. It appears when it is complete.
    number : callable
        From a weight to what is written; terms whose number is 0 are left out.
    extra : callable, optional
        From an id to further fields of its line.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    count = 0
    with create_text(path) as stream:
        for doc_id, vector in rows:
            order = np.argsort(-vector.weights, kind="stable")
            weights = {
                tokens[term]: value
                for term, weight in zip(
                    vector.terms[order].tolist(), vector.weights[order], strict=True
                )
                if (value := number(weight))
            }
            record: dict[str, Any] = {"id": doc_id}
            if extra is not None:
                record |= extra(doc_id)
            record["vector"] = weights
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count
