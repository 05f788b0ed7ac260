"""From training pairs and examples to the artefact: every text tokenised once.

Reading JSON and tokenising cost minutes; training wants rows of token ids (`PairTable`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsr.core.artifact import write_artifact
from lsr.core.config import config_hash
from lsr.core.errors import DataError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int64Array
from lsr.data.examples import Example
from lsr.data.pairs import Pair, pair_files, read_pairs
from lsr.training.config import DataConfig, SentenceQueries
from lsr.training.example_sources import read_example_source
from lsr.training.pair_table import PAIRS_FORMAT, PAIRS_KIND, PairTable, TokenTable, special_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["prepare_pairs"]

_BATCH = 4096
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class _Texts:
    """Unique token sequences in order of first sight, growing."""

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._rows: dict[bytes, int] = {}
        self._chunks: list[NDArray[Any]] = []
        self._lengths: list[int] = []

    def add(self, ids: Sequence[int]) -> int:
        array = np.asarray(ids, dtype=self._dtype)
        key = hashlib.blake2b(array.tobytes(), digest_size=16).digest()
        row = self._rows.setdefault(key, len(self._lengths))
        if row == len(self._lengths):
            self._chunks.append(array)
            self._lengths.append(len(array))
        return row

    @property
    def count(self) -> int:
        """Number of texts."""
        return len(self._lengths)

    def table(self) -> TokenTable:
        offsets = np.zeros(len(self._lengths) + 1, dtype=np.int64)
        np.cumsum(self._lengths, out=offsets[1:])
        empty = np.empty(0, dtype=self._dtype)
        return TokenTable(np.concatenate([empty, *self._chunks]), offsets)


class _Collector:
    """Unique texts, pairs and candidate lists, growing."""

    def __init__(self, tokenizer: Tokenizer, config: DataConfig) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.config = config
        self.size = tokenizer.get_vocab_size(with_added_tokens=True)
        dtype = np.uint16 if self.size <= 1 << 16 else np.int32
        self.queries, self.passages = _Texts(dtype), _Texts(dtype)
        self.sources: list[str] = []
        self.rows: list[tuple[int, int, int]] = []
        self.first_source: list[int] = []
        self.candidates: list[tuple[int, int, float]] = []

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in encoded]

    def source(self, name: str) -> int:
        """Return the position of a source, added if new."""
        if name not in self.sources:
            self.sources.append(name)
        return self.sources.index(name)

    def query(self, ids: Sequence[int]) -> int:
        """Return the row of a query."""
        return self.queries.add(ids[: self.config.max_query_tokens - 2])

    def passage(self, ids: Sequence[int], source: int) -> int:
        """Return the row of a passage."""
        row = self.passages.add(ids[: self.config.max_document_tokens - 2])
        if row == len(self.first_source):
            self.first_source.append(source)
        return row

    def add_pairs(self, batch: Sequence[Pair]) -> None:
        """Take pairs of a query and a passage that answers it."""
        queries = self._ids([p.query for p in batch])
        passages = self._ids([p.positive for p in batch])
        for pair, q, p in zip(batch, queries, passages, strict=True):
            source = self.source(pair.source)
            passage = self.passage(p, source)
            self.rows.append((self.query(q), passage, source))

    def add_examples(self, batch: Sequence[Example]) -> None:
        """Take queries with positives, negatives and maybe scores.

        A list without positives, as distillation has them, counts its best scored passage as one.
        """
        queries = self._ids([e.query for e in batch])
        texts = self._ids([t for e in batch for t in (*e.positives, *e.negatives)])
        at = 0
        for example, q in zip(batch, queries, strict=True):
            n = len(example.positives) + len(example.negatives)
            source = self.source(example.source)
            query = self.query(q)
            rows = [self.passage(ids, source) for ids in texts[at : at + n]]
            at += n
            scores = example.scores or (math.nan,) * n
            n_positives = len(example.positives)
            if n_positives:
                positives = rows[:n_positives]
            elif example.scores is not None:
                positives = [rows[int(np.argmax(scores))]]
            else:
                raise DataError(
                    f"An example of {example.source!r} has neither positives nor scores."
                )
            self.rows += [(query, passage, source) for passage in positives]
            self.candidates += [(query, p, s) for p, s in zip(rows, scores, strict=True)]

    def add_sentences(self, config: SentenceQueries, rng: np.random.Generator) -> None:
        """Make a query of one sentence of a passage; the rest of the passage answers it."""
        unknown = set(config.sources) - set(self.sources)
        if unknown:
            raise DataError(f"data.sentence_queries names unknown sources {sorted(unknown)}.")
        stops = [i for t in ".?!" if (i := self.tokenizer.token_to_id(t)) is not None]
        table = self.passages.table()
        first_source = np.array(self.first_source)
        for name in config.sources:
            source = self.sources.index(name)
            candidates = np.flatnonzero(first_source == source)
            chosen = rng.permutation(candidates)[: config.max_passages]
            for passage in np.sort(chosen).tolist():
                ids = table.row(passage)
                ends = np.flatnonzero(np.isin(ids, stops)) + 1
                starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
                fits = (ends - starts >= config.min_tokens) & (ends - starts <= config.max_tokens)
                if fits.sum() < 1 or len(ends) < 2:
                    continue
                pick = int(rng.choice(np.flatnonzero(fits)))
                start, end = int(starts[pick]), int(ends[pick])
                rest = self.passage(np.concatenate([ids[:start], ids[end:]]).tolist(), source)
                query = self.query(ids[start : end - 1].tolist())
                self.rows.append((query, rest, self.source("sentences")))

    def lists(self) -> tuple[Int64Array, NDArray[np.int32], NDArray[np.float32]]:
        """Return offsets by query, passages and scores of the candidate lists, each pair once."""
        best: dict[tuple[int, int], float] = {}
        for query, passage, score in self.candidates:
            # A later score of the same pair replaces an earlier one, and no score none.
            if (query, passage) not in best or not math.isnan(score):
                best[query, passage] = score
        ordered = sorted(best)
        offsets = np.searchsorted([q for q, _ in ordered], np.arange(self.queries.count + 1))
        return (
            offsets.astype(np.int64),
            np.array([p for _, p in ordered], dtype=np.int32),
            np.array([best[key] for key in ordered], dtype=np.float32),
        )


def prepare_pairs(
    out: Path,
    config: DataConfig,
    tokenizer: Tokenizer,
    *,
    seed: int,
    overwrite: bool = False,
) -> PairTable:
    """Read, tokenise and write the training data; return the table.

    Parameters
    ----------
    out : Path
        The new artefact's folder.
    config : DataConfig
        Files, exclusions, lengths.
    tokenizer : Tokenizer
        The backbone's. Its own truncation and padding are switched off.
    seed : int
        Of the held-out choice and of the sentence queries.
    overwrite : bool
        Replace what stands at `out`.

    Raises
    ------
    DataError
        If there is no pair, or a named source does not exist.
    """
    special_ids(tokenizer)  # fails before hours of reading
    data = _Collector(tokenizer, config)
    for pairs in _batches(_drawn_pairs(config, seed), _BATCH):
        data.add_pairs(pairs)
    for source in config.examples:
        for examples in _batches(read_example_source(source), _BATCH // 8):
            data.add_examples(examples)
    if not data.rows:
        raise DataError(
            "There is no training pair.", hint="Check data.pairs, data.examples, the exclusions."
        )
    unknown = set(config.source_weights) - set(data.sources)
    if unknown:
        raise DataError(
            f"data.source_weights names {sorted(unknown)}, which the data does not have.",
            hint=f"Sources: {', '.join(data.sources)}.",
        )
    n_read = len(data.rows)
    if config.sentence_queries is not None:
        data.add_sentences(config.sentence_queries, np.random.default_rng(seed))
    _log.info("%d pairs, %d made of sentences", len(data.rows), len(data.rows) - n_read)
    _write(out, data, n_read=n_read, seed=seed, overwrite=overwrite)
    return PairTable.open(out)


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _drawn_pairs(config: DataConfig, seed: int) -> Iterator[Pair]:
    """Yield the pairs, of too large sources a random part: two passes, no text is kept."""
    limit = config.max_pairs_per_source
    if limit is None:
        yield from read_pairs(config.pairs, exclude=config.exclude_sources)
        return
    counts = Counter(p.source for p in read_pairs(config.pairs, exclude=config.exclude_sources))
    keep: dict[str, NDArray[np.bool_]] = {}
    for source, n in sorted(counts.items()):
        keep[source] = np.zeros(n, dtype=bool)
        rng = np.random.default_rng([seed, 0, zlib.crc32(source.encode())])
        keep[source][rng.permutation(n)[:limit]] = True
    seen: Counter[str] = Counter()
    for pair in read_pairs(config.pairs, exclude=config.exclude_sources):
        if keep[pair.source][seen[pair.source]]:
            yield pair
        seen[pair.source] += 1


def _tokens(tokenizer: Tokenizer, size: int) -> list[str]:
    tokens = [""] * size
    for token, term in tokenizer.get_vocab(with_added_tokens=True).items():
        tokens[term] = token
    return tokens


def _write(out: Path, data: _Collector, *, n_read: int, seed: int, overwrite: bool) -> None:
    config, size = data.config, data.size
    rows = np.unique(np.array(data.rows, dtype=np.int64), axis=0)
    queries, passages = data.queries.table(), data.passages.table()
    rng = np.random.default_rng([seed, 1])
    n_held = min(config.n_held_out, len(queries) // 10)
    held_queries = rng.choice(len(queries), size=n_held, replace=False)
    is_held = np.isin(rows[:, 0], held_queries)
    train, held = rows[~is_held], rows[is_held]
    lengths = passages.lengths()
    # Each passage counts a term once: unique (passage, term) keys, then their terms.
    keys = np.unique(np.repeat(np.arange(len(passages)), lengths) * size + passages.ids)
    counts = np.bincount(train[:, 2], minlength=len(data.sources))
    details = {
        "sources": data.sources,
        "pairs_by_source": {s: int(n) for s, n in zip(data.sources, counts, strict=True)},
        "n_pairs": len(train),
        "n_pairs_read": n_read,
        "n_queries": len(queries),
        "n_passages": len(passages),
        "n_candidates": len(data.candidates),
        "vocabulary_size": size,
        "special": special_ids(data.tokenizer),
        "files": [p.name for p in pair_files(config.pairs)],
    }
    manifest = Manifest.new(
        PAIRS_KIND,
        PAIRS_FORMAT,
        details=details,
        config=config.model_dump(mode="json"),
        config_hash=config_hash(config),
        seed=seed,
    )
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        writer.array("passages.ids", passages.ids)
        writer.array("passages.offsets", passages.offsets)
        writer.array("queries.ids", queries.ids)
        writer.array("queries.offsets", queries.offsets)
        writer.array("pairs", train[:, :2].astype(np.int32))
        writer.array("pair_sources", train[:, 2].astype(np.int16))
        writer.array("passage_sources", np.array(data.first_source, dtype=np.int16))
        writer.array("held_out", held[:, :2].astype(np.int32))
        writer.array("df", np.bincount(keys % size, minlength=size).astype(np.int64))
        writer.text("tokens.json", json.dumps(_tokens(data.tokenizer, size), ensure_ascii=False))
        if data.candidates:
            offsets, listed, scores = data.lists()
            writer.array("lists.offsets", offsets)
            writer.array("lists.passages", listed)
            writer.array("lists.scores", scores)
    _log.info(
        "%d pairs, %d queries, %d passages of %.0f tokens: %s",
        len(train), len(queries), len(passages), lengths.mean(), out,
    )  # fmt: skip
