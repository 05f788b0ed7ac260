"""The artefact of tokenised training pairs, as the trainer reads it.

It holds unique passages and unique queries as one flat array of ids each (no special tokens;
those are put round a text when a batch is made), the pairs as two columns of rows, and the
document frequencies. Teachers, negatives and the trainer address texts by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsr.core.artifact import check_artifact, open_array, read_manifest
from lsr.core.errors import DataError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int64Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PAIRS_FORMAT", "PAIRS_KIND", "CandidateLists", "PairTable", "TokenTable", "special_ids"]

PAIRS_FORMAT = 1
PAIRS_KIND = "training-pairs"


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


@dataclass(frozen=True)
class CandidateLists:
    """Candidates of queries that came with the data: positives, negatives, maybe scored.

    Attributes
    ----------
    offsets : int64, shape (n_queries + 1,)
        Query `r` has ``passages[offsets[r]:offsets[r + 1]]``; mostly none.
    passages : int32, shape (n,)
    scores : float32, shape (n,)
        NaN where there is none.
    """

    offsets: Int64Array
    passages: NDArray[np.int32]
    scores: NDArray[np.float32]

    def negatives(self, positive_keys: Int64Array, n_passages: int) -> NDArray[np.int32]:
        """Return the candidates that are no known positives, shape (n_queries, width), -1 padded.

        Parameters
        ----------
        positive_keys : int64
            ``query · n_passages + passage`` of every known positive, ascending.
        n_passages : int
            Number of passages.
        """
        counts = np.diff(self.offsets)
        query = np.repeat(np.arange(len(counts)), counts)
        keys = query * n_passages + self.passages
        kept = ~np.isin(keys, positive_keys)
        query, passages = query[kept], np.asarray(self.passages)[kept]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        width = int(rank.max(initial=-1)) + 1
        out = np.full((len(counts), width), -1, dtype=np.int32)
        out[query, rank] = passages
        return out


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
    lists : CandidateLists, optional
        Candidates that came with the data, where it has any.
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
        self.lists: CandidateLists | None = None
        if "lists.offsets.npy" in manifest.files:
            self.lists = CandidateLists(
                read("lists.offsets"), read("lists.passages"), read("lists.scores")
            )

    @classmethod
    def open(cls, path: Path) -> PairTable:
        """Return the table at `path`.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If it is not there, not of this format, or damaged.
        """
        manifest = read_manifest(path, kind=PAIRS_KIND, format_version=PAIRS_FORMAT)
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
