"""Anserini's files: impacts as JSON lines for documents, repeated tokens for queries.

A document is ``{"id": …, "contents": "", "vector": {token: impact}}``, which ``JsonVectorCollection``
indexes with ``-impact -pretokenized``. A query is ``id<TAB>token token token …``, each token as
often as its impact says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lsr.core.errors import DataError, DuplicateIdError
from lsr.core.files import create_text
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines, read_records
from lsr.data.fields import parse_id
from lsr.data.interchange.impacts import DEFAULT_SCALE, to_impacts
from lsr.data.seen import SeenIds
from lsr.data.vector_jsonl import write_vectors_jsonl

__all__ = ["collect_topic_tokens", "read_topics", "write_anserini", "write_topics"]

Rows = Iterable[tuple[str, SparseVector]]


def write_anserini(
    rows: Rows, tokens: Sequence[str], path: Path, *, scale: float = DEFAULT_SCALE
) -> int:
    """Write documents as JSON impacts and return how many weights were written.

    Parameters
    ----------
    rows : iterable of (str, SparseVector)
        Ids and vectors.
    tokens : sequence of str
        Of the vocabulary.
    path : Path
        The file; Anserini reads a folder of them, plain or ``.gz``.
    scale : float
        See `to_impacts`.

    Raises
    ------
    DataError
        If a token in use is empty or holds white space, which separates tokens in Lucene, or an
        impact is too large.
    """
    counted = _Counted(rows, tokens, scale)
    write_vectors_jsonl(counted, tokens, path, number=int, extra=lambda _: {"contents": ""})
    return counted.nnz


def write_topics(
    rows: Rows, tokens: Sequence[str], path: Path, *, scale: float = DEFAULT_SCALE
) -> int:
    """Write queries as repeated tokens and return how many weights were written.

    Parameters, Raises
    ------------------
    As `write_anserini`; also if an id holds a tab.
    """
    counted = _Counted(rows, tokens, scale)
    with create_text(path) as stream:
        for query_id, vector in counted:
            pairs = zip(vector.terms.tolist(), vector.weights.tolist(), strict=True)
            words = [" ".join([tokens[term]] * int(impact)) for term, impact in pairs]
            stream.write(f"{parse_id(query_id, 'The query id')}\t{' '.join(words)}\n")
    return counted.nnz


class _Counted:
    """Rows as impacts, checked and counted on their way."""

    def __init__(self, rows: Rows, tokens: Sequence[str], scale: float) -> None:
        self._rows = rows
        self._tokens = tokens
        self._scale = scale
        self._broken = {term for term, token in enumerate(tokens) if token.split() != [token]}
        self.nnz = 0

    def __iter__(self) -> Iterator[tuple[str, SparseVector]]:
        for name, vector in self._rows:
            impacts = to_impacts(vector, self._scale)
            broken = self._broken.intersection(impacts.terms.tolist()) if self._broken else ()
            if broken:
                raise DataError(
                    f"The token {self._tokens[min(broken)]!r} of {name!r} is empty or holds white "
                    "space, at which Lucene would split it."
                )
            self.nnz += impacts.nnz
            yield name, impacts


def _parse_topic(line: str) -> tuple[str, Counter[str]]:
    query_id, tab, text = line.partition("\t")
    if not tab:
        raise DataError("No tab; expected an id, a tab, and tokens.")
    return parse_id(query_id, "The query id"), Counter(text.split())


def collect_topic_tokens(path: Path, *, bad: BadLines | None = None) -> Vocabulary:
    """Return every token of a file of queries, in code point order.

    Raises
    ------
    DataError, RecordError
        As `read_topics`.
    """
    tokens: set[str] = set()
    for _, counts in read_records(path, _parse_topic, bad or BadLines()):
        tokens.update(counts)
    return Vocabulary(sorted(tokens))


def read_topics(
    path: Path, vocabulary: Vocabulary, *, bad: BadLines | None = None
) -> Iterator[tuple[str, SparseVector]]:
    """Yield the id and the vector of every query; a weight is how often its token stands there.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line has no tab, repeats an id, or has a token that is not in `vocabulary`, beyond
        the budget of `bad`.
    """
    seen = SeenIds()

    def parse(line: str) -> tuple[str, SparseVector]:
        query_id, counts = _parse_topic(line)
        terms = {vocabulary.term(token): float(n) for token, n in counts.items()}
        if None in terms:
            token = next(t for t in counts if vocabulary.term(t) is None)
            raise DataError(
                f"The token {token!r} is not in the vocabulary of {len(vocabulary)}.",
                hint="Give the vocabulary of the encoder that wrote the file, or none to "
                "collect it from the file.",
            )
        if not seen.add(query_id):
            raise DuplicateIdError(f"The id {query_id!r} stands twice.")
        return query_id, SparseVector.from_arrays(
            list(terms), list(terms.values()), len(vocabulary)
        )

    return read_records(path, parse, bad or BadLines())
