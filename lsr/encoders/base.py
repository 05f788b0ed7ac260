"""What every encoder is to the rest of the system.

An encoder has two sides over one vocabulary. The query side must be loadable alone
(`save_query_side`), because an index carries it: a folder with an index in it can be searched
without the model that encoded the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from lsr.core.origins import Origins
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary

__all__ = ["Encoder", "IdfConvention", "QueryEncoder", "Span", "TracingEncoder"]

IdfConvention = Literal["query", "document", "none"]
"""Which side's weights carry the inverse document frequency; every exporter needs to know."""


class Span(NamedTuple):
    """A piece of a text that stands for a term: ``text[start:end]``."""

    start: int
    end: int
    term: int


@runtime_checkable
class QueryEncoder(Protocol):
    """The query side: what an index carries and a service loads."""

    @property
    def name(self) -> str:
        """How messages and manifests call it."""

    @property
    def fingerprint(self) -> str:
        """A hash over everything that decides its vectors; a resumed encoding compares it."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its vectors."""

    @property
    def idf(self) -> IdfConvention:
        """Where the idf stands."""

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return one row a text, in their order; a text without known terms gives an empty row."""

    def spans(self, text: str) -> list[Span]:
        """Return the pieces of `text` that stand for vocabulary terms, in reading order."""

    def save_query_side(self, path: Path) -> None:
        """Write what `load_encoder` needs to encode queries again into the new folder `path`."""


@runtime_checkable
class Encoder(QueryEncoder, Protocol):
    """Both sides."""

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return one row a text, in their order. Does not depend on which texts share a batch."""

    def save(self, path: Path) -> None:
        """Write both sides into the new folder `path`."""


@runtime_checkable
class TracingEncoder(Encoder, Protocol):
    """An encoder that can tell from which piece of a document's text each weight comes."""

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return the vectors of `encode_documents`, and the piece of text behind each entry.

        Raises
        ------
        EncoderError
            If this encoder's document side cannot tell.
        """
