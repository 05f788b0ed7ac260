"""Any query side with any document side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lsr.core.artifact import write_artifact
from lsr.core.errors import VocabularyMismatchError
from lsr.core.origins import Origins
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import Encoder, IdfConvention, QueryEncoder, Span
from lsr.encoders.folder import ENCODER_NAME, EncoderFolder, write_encoder_folder
from lsr.encoders.tables import fingerprint
from lsr.encoders.tracing import tracing

__all__ = ["ComposedEncoder", "DocumentSide"]


class DocumentSide(Protocol):
    """What encodes documents; every `Encoder` does."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def fingerprint(self) -> str:
        """A hash over everything that decides its vectors."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its vectors."""

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return one row a text, in their order."""

    def save(self, path: Path) -> None:
        """Write it into the new folder `path`."""


class ComposedEncoder:
    """A query side and a document side over one vocabulary.

    Parameters
    ----------
    query : QueryEncoder
        What encodes queries.
    document : DocumentSide
        What encodes documents; its own query side, if it has one, is not used.
    name : str, optional
        ``"QUERY+DOCUMENT"`` otherwise.

    Raises
    ------
    VocabularyMismatchError
        If the sides have different vocabularies.
    """

    kind = "composed"

    def __init__(
        self, query: QueryEncoder, document: DocumentSide, *, name: str | None = None
    ) -> None:
        query.vocabulary.require_same(
            document.vocabulary.fingerprint,
            mine=f"The query side {query.name!r}",
            theirs=f"the document side {document.name!r}",
        )
        self.query = query
        self.document = document
        self._name = name or f"{query.name}+{document.name}"

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hash of both sides."""
        sides = {"query": self.query.fingerprint, "document": self.document.fingerprint}
        return fingerprint(sides, {}, self.vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of both sides."""
        return self.query.vocabulary

    @property
    def idf(self) -> IdfConvention:
        """The query side's: a document side that carries idf wants a query side without."""
        return self.query.idf

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the query side's vectors."""
        return self.query.encode_queries(texts, batch_size=batch_size)

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the document side's vectors."""
        return self.document.encode_documents(texts, batch_size=batch_size)

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return the document side's vectors and where in the texts each weight comes from.

        Raises
        ------
        EncoderError
            If the document side cannot tell.
        """
        return tracing(self.document)(texts, batch_size=batch_size)

    def spans(self, text: str) -> list[Span]:
        """Return the query side's spans."""
        return self.query.spans(text)

    def save_query_side(self, path: Path) -> None:
        """Write the query side alone; without torch if it needs none."""
        self.query.save_query_side(path)

    def save(self, path: Path) -> None:
        """Write both sides into the new folder `path`.

        A pair of masked-LM and lookup sides becomes a folder that sentence-transformers loads
        too; other pairs become our own format, one folder a side.
        """
        from lsr.encoders.inference_free import LookupQueryEncoder

        # Only asked where torch is loaded already: a document side that is a torch encoder.
        if type(self.document).__name__ == "MaskedLMEncoder":
            from lsr.encoders.splade import MaskedLMEncoder
            from lsr.encoders.st_write import encoder_manifest, write_router

            if isinstance(self.query, LookupQueryEncoder | MaskedLMEncoder) and isinstance(
                self.document, MaskedLMEncoder
            ):
                with write_artifact(path, encoder_manifest(self), overwrite=False) as writer:
                    write_router(self.name, self.query, self.document, writer.path)
                return

        def sides(folder: Path) -> None:
            self.query.save_query_side(folder / "query")
            self.document.save(folder / "document")

        write_encoder_folder(path, kind=self.kind, name=self.name, config={}, arrays={}, fill=sides)

    @classmethod
    def from_folder(
        cls, folder: EncoderFolder, *, device: str | None, dtype: str | None
    ) -> ComposedEncoder:
        """Return the encoder that `save` wrote in our own format."""
        from lsr.encoders.loading import load_encoder

        document = load_encoder(folder.path / "document", device=device, dtype=dtype)
        # A light query side refuses device and dtype: they are the model's.
        light = (folder.path / "query" / ENCODER_NAME).is_file()
        query = load_encoder(
            folder.path / "query",
            device=None if light else device,
            dtype=None if light else dtype,
        )
        if not isinstance(document, Encoder):
            raise VocabularyMismatchError(f"{folder.path / 'document'} encodes no documents.")
        return cls(query, document, name=folder.name)
