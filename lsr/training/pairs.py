"""Training pairs as an artefact: every text tokenised once, in flat arrays.

Reading JSON and tokenising cost minutes; training wants rows of token ids. The artefact holds
unique passages and unique queries as one flat array of ids each (no special tokens; those are
put round a text when a batch is made), the pairs as two arrays of rows, and the document
frequencies. Teachers, negatives and the trainer address passages and queries by row.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsr.core.artifact import check_artifact, open_array, read_manifest, write_artifact
from lsr.core.config import config_hash
from lsr.core.errors import DataError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int64Array
from lsr.data.pairs import Pair, pair_files, read_pairs
from lsr.training.config import DataConfig, SentenceQueries

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "PAIRS_FORMAT",
    "PairTable",
    "TokenTable",
    "prepare_pairs",
    "special_ids",
]

PAIRS_FORMAT = 1
_KIND = "training-pairs"
_BATCH = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenTable:
    """Token ids of many texts in one flat array.

    Attributes
    ----------
    ids : uint16 or int32, shape (n_tokens,)
        Without special tokens.
    offsets : int64, shape (n_texts + 1,)
        Text `r` is ``ids[offsets[r]:offsets[r + 1]]``.
    """

    ids: NDArray[Any]
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, row: int) -> NDArray[Any]:
        """Return the ids of one text."""
        return self.ids[int(self.offsets[row]) : int(self.offsets[row + 1])]

    def lengths(self) -> Int64Array:
        """Return the number of tokens of every text."""
        return np.diff(self.offsets)


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

    def table(self) -> TokenTable:
        offsets = np.zeros(len(self._lengths) + 1, dtype=np.int64)
        np.cumsum(self._lengths, out=offsets[1:])
        empty = np.empty(0, dtype=self._dtype)
        return TokenTable(np.concatenate([empty, *self._chunks]), offsets)


class PairTable:
    """Tokenised training pairs, memory-mapped.

    Attributes
    ----------
    passages, queries : TokenTable
        Unique texts.
    pairs : int32, shape (n_pairs, 2)
        Query row, passage row.
    pair_sources : int16, shape (n_pairs,)
        Position in `sources`.
    passage_sources : int16, shape (n_passages,)
        Source where the passage was first seen.
    held_out : int32, shape (n_held_out, 2)
        Pairs whose queries are in no training pair.
    df : int64, shape (vocabulary_size,)
        Passages that contain the term.
    special : dict of int
        ``cls``, ``sep``, ``pad``, ``mask``, ``unk``: ids of the special tokens.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        details = manifest.details
        self.sources: list[str] = list(details["sources"])
        self.special: dict[str, int] = dict(details["special"])
        self.vocabulary_size = int(details["vocabulary_size"])

        def read(name: str) -> NDArray[Any]:
            return open_array(path, name, manifest)

        self.passages = TokenTable(read("passages.ids"), read("passages.offsets"))
        self.queries = TokenTable(read("queries.ids"), read("queries.offsets"))
        self.pairs = read("pairs")
        self.pair_sources = read("pair_sources")
        self.passage_sources = read("passage_sources")
        self.held_out = read("held_out")
        self.df = read("df")

    @classmethod
    def open(cls, path: Path) -> PairTable:
        """Return the table at `path`.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If it is not there, not of this format, or damaged.
        """
        manifest = read_manifest(path, kind=_KIND, format_version=PAIRS_FORMAT)
        check_artifact(path, manifest)
        return cls(path, manifest)

    def idf(self) -> NDArray[np.float32]:
        """Return ln(1 + (n − df + .5) / (df + .5)) of every term, special tokens 0."""
        n = len(self.passages)
        df = self.df.astype(np.float64)
        idf = np.log1p((n - df + 0.5) / (df + 0.5))
        idf[list(self.special.values())] = 0.0
        return idf.astype(np.float32)


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the ids of ``cls``, ``sep``, ``pad``, ``mask`` and ``unk``.

    Raises
    ------
    DataError
        If the tokenizer lacks one.
    """
    wanted = {
        "cls": ("[CLS]", "<s>"),
        "sep": ("[SEP]", "</s>"),
        "pad": ("[PAD]", "<pad>"),
        "mask": ("[MASK]", "<mask>"),
        "unk": ("[UNK]", "<unk>"),
    }
    found: dict[str, int] = {}
    for role, spellings in wanted.items():
        ids = [i for s in spellings if (i := tokenizer.token_to_id(s)) is not None]
        if not ids:
            raise DataError(f"The tokenizer has no {role} token ({' or '.join(spellings)}).")
        found[role] = ids[0]
    return found


def prepare_pairs(
    out: Path,
    config: DataConfig,
    tokenizer: Tokenizer,
    *,
    seed: int,
    overwrite: bool = False,
) -> PairTable:
    """Read, tokenise and write the training pairs; return the table.

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
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = special_ids(tokenizer)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    dtype = np.uint16 if size <= 1 << 16 else np.int32
    queries, passages = _Texts(dtype), _Texts(dtype)
    sources: list[str] = []
    rows: list[tuple[int, int, int]] = []
    first_source: list[int] = []
    cut_query, cut_document = config.max_query_tokens - 2, config.max_document_tokens - 2
    for batch in _batches(_drawn_pairs(config, seed), _BATCH):
        query_ids = tokenizer.encode_batch_fast([p.query for p in batch], add_special_tokens=False)
        text_ids = tokenizer.encode_batch_fast(
            [p.positive for p in batch], add_special_tokens=False
        )
        for pair, q, p in zip(batch, query_ids, text_ids, strict=True):
            if pair.source not in sources:
                sources.append(pair.source)
            source = sources.index(pair.source)
            passage = passages.add(p.ids[:cut_document])
            if passage == len(first_source):
                first_source.append(source)
            rows.append((queries.add(q.ids[:cut_query]), passage, source))
    if not rows:
        raise DataError("There is no training pair.", hint="Check data.pairs and the exclusions.")
    unknown = set(config.source_weights) - set(sources)
    if unknown:
        raise DataError(
            f"data.source_weights names {sorted(unknown)}, which the data does not have.",
            hint=f"Sources: {', '.join(sources)}.",
        )
    n_read = len(rows)
    rng = np.random.default_rng(seed)
    if config.sentence_queries is not None:
        rows += _sentence_pairs(
            config.sentence_queries, rows, sources, queries, passages, first_source, tokenizer, rng
        )
    _log.info("%d pairs, %d made of sentences", len(rows), len(rows) - n_read)
    return _write_pairs(
        out,
        config,
        np.unique(np.array(rows, dtype=np.int64), axis=0),
        sources,
        queries.table(),
        passages.table(),
        np.array(first_source, dtype=np.int16),
        special=special,
        size=size,
        n_read=n_read,
        tokens=_tokens(tokenizer, size),
        seed=seed,
        overwrite=overwrite,
    )


def _tokens(tokenizer: Tokenizer, size: int) -> list[str]:
    tokens = [""] * size
    for token, term in tokenizer.get_vocab(with_added_tokens=True).items():
        tokens[term] = token
    return tokens


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


def _batches(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    batch: list[Pair] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _sentence_pairs(
    config: SentenceQueries,
    rows: list[tuple[int, int, int]],
    sources: list[str],
    queries: _Texts,
    passages: _Texts,
    first_source: list[int],
    tokenizer: Tokenizer,
    rng: np.random.Generator,
) -> list[tuple[int, int, int]]:
    unknown = set(config.sources) - set(sources)
    if unknown:
        raise DataError(f"data.sentence_queries names unknown sources {sorted(unknown)}.")
    stops = [i for t in ".?!" if (i := tokenizer.token_to_id(t)) is not None]
    made: list[tuple[int, int, int]] = []
    table = passages.table()
    for name in config.sources:
        source = sources.index(name)
        candidates = np.flatnonzero(np.array(first_source) == source)
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
            rest = passages.add(np.concatenate([ids[:start], ids[end:]]).tolist())
            if rest == len(first_source):
                first_source.append(source)
            made.append((queries.add(ids[start : end - 1].tolist()), rest, len(sources)))
    sources.append("sentences")
    return made


def _write_pairs(
    out: Path,
    config: DataConfig,
    rows: Int64Array,
    sources: list[str],
    queries: TokenTable,
    passages: TokenTable,
    passage_sources: NDArray[np.int16],
    *,
    special: dict[str, int],
    size: int,
    n_read: int,
    tokens: list[str],
    seed: int,
    overwrite: bool,
) -> PairTable:
    rng = np.random.default_rng([seed, 1])
    n_held = min(config.n_held_out, len(queries) // 10)
    held_queries = rng.choice(len(queries), size=n_held, replace=False)
    is_held = np.isin(rows[:, 0], held_queries)
    train, held = rows[~is_held], rows[is_held]
    lengths = passages.lengths()
    # Each passage counts a term once: unique (passage, term) keys, then their terms.
    keys = np.unique(np.repeat(np.arange(len(passages)), lengths) * size + passages.ids)
    df = np.bincount(keys % size, minlength=size).astype(np.int64)
    counts = np.bincount(train[:, 2], minlength=len(sources))
    details = {
        "sources": sources,
        "pairs_by_source": {s: int(n) for s, n in zip(sources, counts, strict=True)},
        "n_pairs": len(train),
        "n_pairs_read": n_read,
        "n_queries": len(queries),
        "n_passages": len(passages),
        "vocabulary_size": size,
        "special": special,
        "files": [p.name for p in pair_files(config.pairs)],
    }
    manifest = Manifest.new(
        _KIND,
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
        writer.array("passage_sources", passage_sources)
        writer.array("held_out", held[:, :2].astype(np.int32))
        writer.array("df", df)
        writer.text("tokens.json", json.dumps(tokens, ensure_ascii=False))
    _log.info(
        "%d pairs, %d queries, %d passages of %.0f tokens: %s",
        len(train), len(queries), len(passages), lengths.mean(), out,
    )  # fmt: skip
    return PairTable.open(out)
