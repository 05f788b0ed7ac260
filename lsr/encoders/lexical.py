"""BM25 as a sparse encoder: saturated term frequencies on documents, idf on queries.

No model and no torch. It is the baseline every learned encoder is measured against, and what
serves where no trained encoder is at hand. The inner product of the two sides is Lucene's BM25.

References
----------
Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3.
Lucene ``BM25Similarity``, which leaves out the constant factor ``k1 + 1``.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from lsr.core.config import Config
from lsr.core.errors import ArgumentError, DataError
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.analysis import ENGLISH_STOP_WORDS, Analyzer
from lsr.encoders.base import IdfConvention, Span
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.tables import bm25_idf, fingerprint

__all__ = ["LexicalConfig", "LexicalEncoder"]


class LexicalConfig(Config):
    """What decides the vectors.

    Attributes
    ----------
    k1 : float
        Higher: repeated words count for longer before they saturate.
    b : float
        0 ignores the length of a document, 1 normalises it fully.
    stemmer : str or None
        A PyStemmer algorithm.
    stop_words : {"english", "none"}
        Words left out on both sides.
    min_df : int
        Terms in fewer documents are left out of the vocabulary: smaller, at some recall.
    max_terms : int or None
        Keep at most so many terms, those in the most documents (ties in alphabetical order).
    buckets : int
        Words outside the vocabulary share so many more terms, each word always the same one: a
        rare name still finds its documents, at the price of what shares its bucket. Without
        buckets such words have no weight.
    mean_length : float or None
        Words of a usual document where it will be searched: what ``b`` compares lengths with. The
        mean of the fitted corpus otherwise, which is wrong where that has texts of another kind.
    """

    k1: float = Field(default=0.9, ge=0)
    b: float = Field(default=0.4, ge=0, le=1)
    stemmer: str | None = "porter"
    stop_words: str = Field(default="english", pattern="^(english|none)$")
    min_df: int = Field(default=1, ge=1)
    max_terms: int | None = Field(default=None, ge=1)
    buckets: int = Field(default=0, ge=0)
    mean_length: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class LexicalEncoder:
    """BM25 impacts over a vocabulary fitted on a corpus.

    Parameters
    ----------
    vocabulary : Vocabulary
        Stems of the corpus, then the buckets.
    idf : float32, shape (len(vocabulary),)
        Query weight of each term.
    mean_length : float
        Words of a usual document.
    config : LexicalConfig
        The parameters.

    Raises
    ------
    ArgumentError
        If table, vocabulary and number of buckets do not fit together.

    Examples
    --------
    >>> encoder = LexicalEncoder.fit(["A cat sat on the mat.", "Dogs chase cats."])
    >>> [encoder.vocabulary.token(t) for t in encoder.encode_queries(["the cats"]).terms]
    ['cat']
    """

    kind = "lexical"

    def __init__(
        self,
        vocabulary: Vocabulary,
        idf: Float32Array,
        mean_length: float,
        *,
        config: LexicalConfig | None = None,
    ) -> None:
        self.config = config or LexicalConfig()
        self.mean_length = mean_length
        self._vocabulary = vocabulary
        self.weights = np.ascontiguousarray(idf, dtype=np.float32)
        self._n_stems = len(vocabulary) - self.config.buckets
        if self.weights.shape != (len(vocabulary),) or self._n_stems < 0:
            raise ArgumentError(
                f"The idf table has shape {self.weights.shape}, the vocabulary {len(vocabulary)} "
                f"terms, {self.config.buckets} of them buckets."
            )
        self._analyzer = _analyzer(self.config)

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        config: LexicalConfig | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> LexicalEncoder:
        """Return the encoder of a corpus, read once.

        Parameters
        ----------
        texts : iterable of str
            One string a document, as it will be encoded.
        config : LexicalConfig, optional
            Default parameters otherwise.
        advance : callable, optional
            Called with 1 after each text, for a progress bar.

        Raises
        ------
        DataError
            If no text has a word in it.
        """
        config = config or LexicalConfig()
        analyzer = _analyzer(config)
        df: Counter[str] = Counter()
        n_texts = n_words = 0
        for text in texts:
            terms = analyzer.terms(text)
            df.update(set(terms))
            n_words += len(terms)
            n_texts += 1
            if advance is not None:
                advance(1)
        tokens = [token for token, count in df.items() if count >= config.min_df]
        if config.max_terms is not None:
            tokens = sorted(tokens, key=lambda token: (-df[token], token))[: config.max_terms]
        # Sorted, so that the fingerprint does not depend on the order of the documents.
        tokens.sort()
        if not tokens:
            raise DataError(
                f"The lexical encoder found no word that stands in at least {config.min_df} of "
                f"{n_texts} documents.",
                hint="Check that the right field of the corpus is read.",
            )
        counts = [df[token] for token in tokens]
        if config.buckets:
            counts += [_bucket_df(config.buckets, n_texts, min(counts))] * config.buckets
            tokens += [f"rare·{bucket}" for bucket in range(config.buckets)]
        idf = bm25_idf(np.array(counts, dtype=np.int64), n_texts)
        mean_length = config.mean_length or n_words / n_texts
        return cls(Vocabulary(tokens), idf, mean_length, config=config)

    @property
    def name(self) -> str:
        """``"lexical"``."""
        return "lexical"

    @property
    def fingerprint(self) -> str:
        """Hash of vocabulary, idf, mean length and config."""
        config = self.config.model_dump(mode="json")
        for later in ("max_terms", "buckets"):  # without them a hash is what it was before them
            if not config[later]:
                del config[later]
        return fingerprint(
            {**config, "mean_length": self.mean_length}, {"idf": self.weights}, self._vocabulary
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """Stems of the corpus in alphabetical order, then the buckets."""
        return self._vocabulary

    @property
    def idf(self) -> IdfConvention:
        """``"query"``, or ``"none"`` of `unweighted`."""
        return "none" if (self.weights == 1).all() else "query"

    def unweighted(self) -> LexicalEncoder:
        """Return the encoder whose queries count words: for documents that carry the idf."""
        ones = np.ones_like(self.weights)
        return LexicalEncoder(self._vocabulary, ones, self.mean_length, config=self.config)

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return idf times the number of times a word stands in the query.

        `batch_size` is the protocol's; nothing is batched here.
        """
        return SparseMatrix.from_rows([self._query(t) for t in texts], len(self._vocabulary))

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return ``tf / (tf + k1 (1 - b + b · length / mean length))``."""
        return SparseMatrix.from_rows([self._document(t) for t in texts], len(self._vocabulary))

    def _query(self, text: str) -> SparseVector:
        terms, counts, _ = self._count(text)
        return SparseVector(terms, counts * self.weights[terms], len(self._vocabulary))

    def _document(self, text: str) -> SparseVector:
        terms, tf, length = self._count(text)
        k1, b = self.config.k1, self.config.b
        norm = np.float32(k1 * (1 - b + b * length / self.mean_length))
        return SparseVector(terms, tf / (tf + norm), len(self._vocabulary))

    def _count(self, text: str) -> tuple[Int32Array, Float32Array, int]:
        words = self._analyzer.terms(text)
        # Words without a term do count for the length.
        counts = Counter([t for t in map(self._term, words) if t is not None])
        terms = sorted(counts)
        tf = np.array([counts[term] for term in terms], dtype=np.float32)
        return np.array(terms, dtype=np.int32), tf, len(words)

    def _term(self, stem: str) -> int | None:
        term = self._vocabulary.term(stem)
        if term is None and self.config.buckets:
            # CRC-32 is the same on every machine and in every release, unlike hash().
            return self._n_stems + zlib.crc32(stem.encode()) % self.config.buckets
        return term

    def spans(self, text: str) -> list[Span]:
        """Return the words of `text` that have a term."""
        found = []
        for token in self._analyzer.tokens(text):
            term = self._term(token.stem)
            if term is not None:
                found.append(Span(token.start, token.end, term))
        return found

    def save(self, path: Path) -> None:
        """Write the encoder into the new folder `path`."""
        write_encoder_folder(
            path,
            kind=self.kind,
            name=self.name,
            config={
                "lexical": self.config.model_dump(mode="json"),
                "mean_length": self.mean_length,
            },
            vocabulary=self._vocabulary,
            arrays={"idf": self.weights},
        )

    def save_query_side(self, path: Path) -> None:
        """Write the encoder into the new folder `path`; both sides are the same few tables."""
        self.save(path)

    @classmethod
    def from_folder(cls, folder: EncoderFolder) -> LexicalEncoder:
        """Return the encoder that `save` wrote."""
        return cls(
            folder.vocabulary(),
            folder.array("idf", ndim=1),
            float(folder.config["mean_length"]),
            config=LexicalConfig.model_validate(folder.config["lexical"]),
        )


def _bucket_df(buckets: int, n_texts: int, smallest: int) -> int:
    """Return in how many documents a bucket stands: the df that its idf is computed from.

    A document has a few rare words, about three, so that a bucket stands in ``3 / buckets`` of the
    documents and its idf is near ``ln(buckets / 3)``. In a small corpus that would make it rarer
    than the rarest term that was kept, which no bucket should outweigh.
    """
    return max(smallest, min(n_texts, math.ceil(3 * n_texts / buckets)))


def _analyzer(config: LexicalConfig) -> Analyzer:
    stop_words = ENGLISH_STOP_WORDS if config.stop_words == "english" else frozenset[str]()
    return Analyzer(stemmer=config.stemmer, stop_words=stop_words)
