"""What a model learns from: the part of the recipe about data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lsr.core.config import Config

__all__ = [
    "DataConfig",
    "ExamplesConfig",
    "SentenceQueries",
]


class SentenceQueries(Config):
    """Queries made of passages: one sentence asks for the rest of its passage (inverse cloze).

    Attributes
    ----------
    sources : tuple of str
        Which sources get them.
    max_passages : int
        At most so many passages of a source are used, drawn at random.
    min_tokens, max_tokens : int
        Length of a sentence that may become a query.

    References
    ----------
    Lee, Chang, Toutanova: Latent Retrieval for Weakly Supervised Open Domain Question
    Answering, ACL 2019, section 4.
    """

    sources: tuple[str, ...]
    max_passages: int = Field(default=20_000, ge=1)
    min_tokens: int = Field(default=8, ge=2)
    max_tokens: int = Field(default=40, ge=4)


class ExamplesConfig(Config):
    """Examples with negatives, maybe scored, in one of the forms in which they are published.

    Attributes
    ----------
    form : str
        ``texts`` (JSON lines with query, positives, negatives, scores), ``text-triples`` (MS
        MARCO's TSV); by ids of `dataset`: ``id-triples`` (MS MARCO's, or MarginMSE's with
        scores), ``scored-lists`` (ColBERTv2's), ``hard-negatives`` (sentence-transformers'),
        ``split`` (the judgements of a split of the data set).
    path : Path, optional
        The file.
    dataset : str, optional
        Name or folder of the data set that has the texts.
    split : str
        For ``split``.
    source : str, optional
        Name of the source; the file's or the data set's own otherwise.
    n_negatives : int, optional
        For ``hard-negatives``: at most so many of each system.
    skip_missing : bool
        Leave out what a reduced collection lacks.
    """

    form: Literal["texts", "text-triples", "id-triples", "scored-lists", "hard-negatives", "split"]
    path: Path | None = None
    dataset: str | None = None
    split: str = "train"
    source: str | None = None
    n_negatives: int | None = Field(default=None, ge=1)
    skip_missing: bool = False


class DataConfig(Config):
    """Training pairs and how they are cut.

    Attributes
    ----------
    pairs : tuple of Path
        JSON-lines files, or folders of them, with ``query``, ``positive``, ``source``.
    examples : tuple of ExamplesConfig
        Queries with negatives and, maybe, scores (the teacher of kind ``scores``).
    exclude_sources : tuple of str
        Sources that are left out (licences, leakage).
    source_weights : dict of float
        How often a pair of this source is seen in one epoch; 1 where not named.
    max_pairs_per_source : int, optional
        At most so many pairs of a source, drawn at random.
    max_document_tokens, max_query_tokens : int
        With the special tokens; longer texts are cut. More is slower, and recalls more.
    n_held_out : int
        Queries kept out of training, for the held-out ranking figure in the log.
    """

    pairs: tuple[Path, ...] = ()
    examples: tuple[ExamplesConfig, ...] = ()
    exclude_sources: tuple[str, ...] = ()
    source_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    max_pairs_per_source: int | None = Field(default=None, ge=1)
    max_document_tokens: int = Field(default=192, ge=8, le=8192)
    max_query_tokens: int = Field(default=64, ge=4, le=512)
    sentence_queries: SentenceQueries | None = None
    n_held_out: int = Field(default=500, ge=0)
