"""Queries without inference: a weight looked up for every token that stands in the query.

``q_j = f(tf_j) · relu(weight_j)``, special tokens nothing. The papers have presence, f(tf) = 1
for tf > 0; BM25 counts, f(tf) = tf, which tells long queries what they are about; 1 + ln(tf) lies
between. Queries that repeat no word are the same in all three. The table is an idf table (frozen
or trained), a learned score a term (Li-LSR), or a constant (SPLADE-doc's binary query). Numpy and
``tokenizers`` only.

References
----------
Geng et al.: Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers,
2024. Lassance et al.: An Efficiency Study for SPLADE Models, 2022 (SPLADE-doc).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lsr.core.errors import ArgumentError, DataError
from lsr.core.sparse import Float32Array, Int32Array, SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import IdfConvention, Span
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.tables import fingerprint
from lsr.encoders.tokenization import TextTokenizer

__all__ = ["LookupQueryEncoder", "TermFrequency"]

TermFrequency = Literal["presence", "log", "count"]
"""What a repeated query token counts: 1, 1 + ln(tf), tf."""

DEFAULT_MAX_LENGTH = 512


class LookupQueryEncoder:
    """A query side that is a table.

    Parameters
    ----------
    tokenizer : TextTokenizer
        Of the document side's model.
    weights : float32, shape (n_terms,)
        Weight of each term; what is not greater than 0 never enters a query.
    name : str
        How messages call it.
    idf : {"query", "none"}
        ``"query"`` where the table carries the idf.
    max_length : int
        Query tokens beyond are cut off.
    prompt : str
        Text put before every query.
    term_frequency : {"presence", "log", "count"}
        What a repeated token counts: 1, 1 + ln(tf), or tf.

    Raises
    ------
    ArgumentError
        If the table does not fit the vocabulary, or holds what is not a number.
    """

    kind = "lookup"

    def __init__(
        self,
        tokenizer: TextTokenizer,
        weights: Float32Array,
        *,
        name: str = "lookup",
        idf: Literal["query", "none"] = "query",
        max_length: int = DEFAULT_MAX_LENGTH,
        prompt: str = "",
        term_frequency: TermFrequency = "presence",
    ) -> None:
        if weights.shape != (len(tokenizer.vocabulary),):
            raise ArgumentError(
                f"The weight table has shape {weights.shape}, the vocabulary "
                f"{len(tokenizer.vocabulary)} terms."
            )
        if not np.isfinite(weights).all():
            raise ArgumentError("The weight table holds NaN or infinite values.")
        self.tokenizer = tokenizer
        self.weights = np.maximum(weights.astype(np.float32), 0)
        self.max_length = max_length
        self.prompt = prompt
        self.term_frequency: TermFrequency = term_frequency
        self._name = name
        self._idf: IdfConvention = idf

    @classmethod
    def binary(
        cls,
        tokenizer: TextTokenizer,
        *,
        weight: float = 1.0,
        name: str = "binary",
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> LookupQueryEncoder:
        """Return the query side that gives every token the same weight (SPLADE-doc)."""
        weights = np.full(len(tokenizer.vocabulary), weight, dtype=np.float32)
        weights[tokenizer.special_terms] = 0
        return cls(tokenizer, weights, name=name, idf="none", max_length=max_length)

    @classmethod
    def from_idf(
        cls,
        tokenizer: TextTokenizer,
        idf: Mapping[str, float],
        *,
        name: str = "idf",
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> LookupQueryEncoder:
        """Return the query side of a ``{token: idf}`` mapping; special tokens get nothing.

        Raises
        ------
        DataError
            If a token is not in the vocabulary.
        """
        weights = np.zeros(len(tokenizer.vocabulary), dtype=np.float32)
        for token, value in idf.items():
            term = tokenizer.vocabulary.term(token)
            if term is None:
                raise DataError(
                    f"The idf table has the token {token!r}, the vocabulary has not.",
                    hint="Use the table made with this model's tokenizer.",
                )
            weights[term] = value
        weights[tokenizer.special_terms] = 0
        return cls(tokenizer, weights, name=name, max_length=max_length)

    def resized(self, size: int) -> LookupQueryEncoder:
        """Return the same query side for a model with `size` vocabulary positions."""
        if size == len(self.weights):
            return self
        weights = np.zeros(size, dtype=np.float32)
        weights[: len(self.weights)] = self.weights[:size]
        return LookupQueryEncoder(
            self.tokenizer.resized(size),
            weights,
            name=self.name,
            idf="query" if self.idf == "query" else "none",
            max_length=self.max_length,
            prompt=self.prompt,
            term_frequency=self.term_frequency,
        )

    def unweighted(self) -> LookupQueryEncoder:
        """Return the query side that gives 1 to every term with a weight (or counts it)."""
        return LookupQueryEncoder(
            self.tokenizer,
            (self.weights > 0).astype(np.float32),
            name=f"{self.name}/binary",
            idf="none",
            max_length=self.max_length,
            prompt=self.prompt,
            term_frequency=self.term_frequency,
        )

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._name

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer's vocabulary."""
        return self.tokenizer.vocabulary

    @property
    def idf(self) -> IdfConvention:
        """``"query"`` where the table carries the idf, else ``"none"``."""
        return self._idf

    @property
    def fingerprint(self) -> str:
        """Hash of the tokenizer, the table and the options."""
        return fingerprint(
            {**self._config(), "tokenizer": self.tokenizer.definition},
            {"weights": self.weights},
            self.vocabulary,
        )

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the weights of the tokens that stand in each query.

        `batch_size` is the protocol's; nothing is batched here.
        """
        if not texts:
            return SparseMatrix.empty(len(self.vocabulary))
        ids = self.tokenizer.encode(
            [self.prompt + text for text in texts] if self.prompt else texts,
            max_length=self.max_length,
            special_tokens=False,
        )
        return SparseMatrix.from_rows([self._row(of_text) for of_text in ids], len(self.vocabulary))

    def _row(self, ids: Int32Array) -> SparseVector:
        # A dict, not np.unique: of a dozen tokens it is four times as fast, and this is the search.
        counts = Counter(ids.tolist())
        terms = np.array(sorted(counts), dtype=np.int32)
        weights = self.weights[terms]
        if self.term_frequency != "presence" and len(terms) < len(ids):
            tf = np.array([counts[term] for term in terms.tolist()])
            factor = 1 + np.log(tf) if self.term_frequency == "log" else tf
            weights = weights * factor.astype(np.float32)
        keep = weights > 0
        if not keep.all():
            terms, weights = terms[keep], weights[keep]
        return SparseVector(terms, weights, len(self.vocabulary))

    def spans(self, text: str) -> list[Span]:
        """Return the pieces of `text` whose term has a weight."""
        return [s for s in self.tokenizer.spans(text) if self.weights[s.term] > 0]

    def save_query_side(self, path: Path) -> None:
        """Write tokenizer and table into the new folder `path`."""
        write_encoder_folder(
            path,
            kind=self.kind,
            name=self.name,
            config=self._config(),
            arrays={"weights": self.weights},
            tokenizer_json=self.tokenizer.definition,
        )

    def _config(self) -> dict[str, str | int]:
        return {
            "idf": self.idf,
            "max_length": self.max_length,
            "prompt": self.prompt,
            "term_frequency": self.term_frequency,
        }

    @classmethod
    def from_folder(cls, folder: EncoderFolder) -> LookupQueryEncoder:
        """Return the query side that `save_query_side` wrote."""
        weights = folder.array("weights", ndim=1)
        tokenizer = TextTokenizer(
            folder.tokenizer_path.read_text(encoding="utf-8"), size=len(weights)
        )
        config = folder.config
        return cls(
            tokenizer,
            weights,
            name=folder.name,
            idf=config["idf"],
            max_length=int(config["max_length"]),
            prompt=str(config["prompt"]),
            # Folders written before it was an option have presence.
            term_frequency=config.get("term_frequency", "presence"),
        )
