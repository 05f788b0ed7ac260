"""A learned encoder with BM25 beside it, in one vector: what either finds counts.

A vocabulary of word pieces takes rare names apart, and what a model makes of the pieces may lose
them; BM25 over whole words does not. Here the terms of a `LexicalEncoder` stand behind the
learned ones. Inner products over disjoint blocks of terms add, so that the score is

``learned score + weight · BM25``

out of one index, one search and one table of explanations. The lexical terms are called by their
stem and a star (``studi*``), which no word piece looks like.

References
----------
Gao et al.: Complement Lexical Retrieval Model with Semantic Residual Embeddings, ECIR 2021 (CLEAR:
lexical and learned scores are summed; its learned vectors are dense).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lsr.core.errors import ArgumentError, DataError, EncoderError
from lsr.core.origins import Origins
from lsr.core.sparse import BoolArray, Float32Array, Int32Array, SparseMatrix, hstack
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import Encoder, IdfConvention, QueryEncoder, Span
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical import LexicalConfig, LexicalEncoder
from lsr.encoders.parts import query_part
from lsr.encoders.pruning import heaviest, select
from lsr.encoders.tables import fingerprint
from lsr.encoders.tracing import tracing

__all__ = ["LexicalChannelEncoder", "LexicalChannelQuery", "add_lexical"]


class LexicalChannelQuery:
    """The query side: the learned query, and behind it `weight` times the lexical one.

    Parameters
    ----------
    learned : QueryEncoder
        Any, without a lexical channel of its own.
    lexical : LexicalEncoder
        Fitted on texts of the kind that will be searched.
    weight : float
        What BM25 counts beside the learned score; greater than 0.
    name : str, optional
        ``"LEARNED+lexical"`` otherwise.

    Raises
    ------
    ArgumentError
        If the weight is not a number greater than 0.
    EncoderError
        If the learned side has a lexical channel, its documents carry the idf (it is folded), or
        one of its tokens is called like a lexical term.
    """

    kind = "lexical-channel"

    def __init__(
        self,
        learned: QueryEncoder,
        lexical: LexicalEncoder,
        *,
        weight: float,
        name: str | None = None,
    ) -> None:
        if not 0 < weight < math.inf:
            raise ArgumentError(f"weight must be a number greater than 0, got {weight!r}.")
        if isinstance(learned, LexicalChannelQuery):
            raise EncoderError(f"The encoder {learned.name!r} has a lexical channel already.")
        if learned.idf == "document":
            raise EncoderError(
                f"The documents of the encoder {learned.name!r} carry the idf, those of a lexical "
                "channel do not.",
                hint="Add the channel first, then fold the whole.",
            )
        self.learned = learned
        self.lexical = lexical
        self.weight = float(weight)
        self._name = name or f"{learned.name}+lexical"
        try:
            self._vocabulary = Vocabulary(
                [*learned.vocabulary.tokens, *(f"{t}*" for t in lexical.vocabulary.tokens)]
            )
        except DataError as error:
            raise EncoderError(
                f"The encoder {learned.name!r} cannot have a lexical channel: {error.message}"
            ) from error

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hash of both parts and the options."""
        return fingerprint(
            {
                "learned": self.learned.fingerprint,
                "lexical": self.lexical.fingerprint,
                **self._options(),
            },
            {},
            self.vocabulary,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """The learned tokens, then the lexical ones with a star behind them."""
        return self._vocabulary

    @property
    def idf(self) -> IdfConvention:
        """``"query"`` where a part's queries carry it."""
        return "query" if "query" in (self.learned.idf, self.lexical.idf) else "none"

    @property
    def weights(self) -> Float32Array | None:
        """The weight of each term in every query it stands in once, shape (size,).

        None if the learned part computes a weight for each query anew.
        """
        table = query_part(self.learned)
        if not isinstance(table, LookupQueryEncoder):
            return None
        return np.concatenate([table.weights, self.lexical.weights * np.float32(self.weight)])

    def unweighted(self) -> LexicalChannelQuery:
        """Return the query side for documents that carry `weights`: it counts terms.

        Raises
        ------
        EncoderError
            If there are none.
        """
        table = query_part(self.learned)
        if not isinstance(table, LookupQueryEncoder):
            raise EncoderError(f"The query side of {self.name!r} is no table.")
        return LexicalChannelQuery(
            table.unweighted(), self.lexical.unweighted(), weight=1.0, name=f"{self.name}/binary"
        )

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the learned queries, `weight` times the lexical ones behind them."""
        lexical = self.lexical.encode_queries(texts)
        weights = lexical.weights * np.float32(self.weight)
        return hstack(
            self.learned.encode_queries(texts, batch_size=batch_size),
            SparseMatrix(lexical.indptr, lexical.terms, weights, lexical.shape),
        )

    def spans(self, text: str) -> list[Span]:
        """Return the pieces and the words of `text`, in reading order."""
        shift = len(self.learned.vocabulary)
        words = [Span(s.start, s.end, s.term + shift) for s in self.lexical.spans(text)]
        return sorted([*self.learned.spans(text), *words], key=lambda span: span[:2])

    def save_query_side(self, path: Path) -> None:
        """Write the query side alone; without torch if the learned one needs none."""
        self._write(path, self.learned.save_query_side, {"weight": self.weight})

    def _options(self) -> dict[str, float | int | None]:
        return {"weight": self.weight}

    def _write(
        self, path: Path, save_learned: Callable[[Path], None], options: Mapping[str, object]
    ) -> None:
        def fill(folder: Path) -> None:
            save_learned(folder / "learned")
            self.lexical.save(folder / "lexical")

        write_encoder_folder(
            path, kind=self.kind, name=self.name, config=options, arrays={}, fill=fill
        )

    @classmethod
    def from_folder(
        cls, folder: EncoderFolder, *, device: str | None, dtype: str | None
    ) -> LexicalChannelQuery:
        """Return what `save` or `save_query_side` wrote: both sides where both are there."""
        from lsr.encoders.loading import load_encoder

        learned = load_encoder(folder.path / "learned", device=device, dtype=dtype)
        lexical = LexicalEncoder.from_folder(EncoderFolder(folder.path / "lexical"))
        weight = float(folder.config["weight"])
        if not isinstance(learned, Encoder):
            return LexicalChannelQuery(learned, lexical, weight=weight, name=folder.name)
        max_terms = folder.config.get("max_terms")
        return LexicalChannelEncoder(
            learned, lexical, weight=weight, max_terms=max_terms, name=folder.name
        )


class LexicalChannelEncoder(LexicalChannelQuery):
    """Both sides: learned vectors with BM25's behind them.

    Parameters
    ----------
    learned : Encoder
        Any, without a lexical channel of its own.
    lexical, weight, name
        As for `LexicalChannelQuery`.
    max_terms : int, optional
        Keep at most so many terms of a document: a smaller index, at some recall. Kept are those
        of the largest impact, a term's weight in the document times its weight in a query (ties:
        the smaller term stays).

    Raises
    ------
    ArgumentError, EncoderError
        As for `LexicalChannelQuery`; also if `max_terms` is below 1, or given for a learned part
        whose query weights are no table.
    """

    learned: Encoder

    def __init__(
        self,
        learned: Encoder,
        lexical: LexicalEncoder,
        *,
        weight: float,
        max_terms: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(learned, lexical, weight=weight, name=name)
        if max_terms is not None and max_terms < 1:
            raise ArgumentError(f"max_terms must be at least 1, got {max_terms}.")
        self.max_terms = max_terms
        self._impacts = None if max_terms is None else self.weights
        if max_terms is not None and self._impacts is None:
            raise ArgumentError(
                f"max_terms needs query weights that are known beforehand; those of "
                f"{learned.name!r} differ from query to query.",
                hint="Leave it out, or use an encoder with a query table.",
            )

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the learned documents, the lexical ones behind them, at most `max_terms` each."""
        learned = self.learned.encode_documents(texts, batch_size=batch_size)
        whole = hstack(learned, self.lexical.encode_documents(texts))
        return select(whole, self._kept(whole))

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return `encode_documents`' vectors and where in the texts each weight comes from.

        A lexical term comes from the first word of its stem.

        Raises
        ------
        EncoderError
            If the learned part cannot tell.
        """
        learned, origins = tracing(self.learned)(texts, batch_size=batch_size)
        whole = hstack(learned, self.lexical.encode_documents(texts))
        of_learned = whole.terms < learned.size
        places = np.empty((whole.nnz, 2), dtype=np.int32)
        places[of_learned, 0], places[of_learned, 1] = origins.starts, origins.ends
        if texts:
            places[~of_learned] = np.concatenate([_first_places(self.lexical, t) for t in texts])
        keep = self._kept(whole)
        return select(whole, keep), Origins(places[keep, 0], places[keep, 1])

    def with_learned(self, learned: Encoder, *, name: str | None = None) -> LexicalChannelEncoder:
        """Return the encoder with another learned part, and the same channel beside it."""
        return LexicalChannelEncoder(
            learned,
            self.lexical,
            weight=self.weight,
            max_terms=self.max_terms,
            name=name or self.name,
        )

    def _kept(self, whole: SparseMatrix) -> BoolArray:
        if self.max_terms is None or self._impacts is None:
            return np.ones(whole.nnz, dtype=np.bool_)
        return heaviest(whole, whole.weights * self._impacts[whole.terms], self.max_terms)

    def save(self, path: Path) -> None:
        """Write both sides into the new folder `path`."""
        self._write(path, self.learned.save, self._options())

    def _options(self) -> dict[str, float | int | None]:
        return {"weight": self.weight, "max_terms": self.max_terms}


def add_lexical(
    learned: Encoder,
    texts: Iterable[str],
    *,
    weight: float = 0.5,
    max_terms: int | None = None,
    config: LexicalConfig | None = None,
    name: str | None = None,
    advance: Callable[[int], None] | None = None,
) -> LexicalChannelEncoder:
    """Return `learned` with a lexical channel fitted on `texts`.

    Parameters
    ----------
    learned, weight, max_terms, name
        As for `LexicalChannelEncoder`.
    texts, config, advance
        As for `LexicalEncoder.fit`.

    Raises
    ------
    ArgumentError, EncoderError
        As `LexicalChannelEncoder`; before a text is read.
    DataError
        If no text has a word in it.

    Examples
    --------
    >>> learned = LexicalEncoder.fit(["any encoder"], config=LexicalConfig(stemmer=None))
    >>> encoder = add_lexical(learned, ["Studies of any kind", "of rare names"])
    >>> encoder.vocabulary.tokens
    ('any', 'encoder', 'ani*', 'kind*', 'name*', 'rare*', 'studi*')
    """

    def join(lexical: LexicalEncoder) -> LexicalChannelEncoder:
        return LexicalChannelEncoder(
            learned, lexical, weight=weight, max_terms=max_terms, name=name
        )

    join(LexicalEncoder.fit(["probe"]))  # a corpus may take minutes; what is wrong is told now
    return join(LexicalEncoder.fit(texts, config=config, advance=advance))


def _first_places(lexical: LexicalEncoder, text: str) -> Int32Array:
    """Return start and end of the first word of each term of a text, shape (n_terms, 2)."""
    spans = np.array(lexical.spans(text), dtype=np.int32).reshape(-1, 3)
    _, first = np.unique(spans[:, 2], return_index=True)
    return spans[first, :2]
