"""Moving a query table's weights into the documents: binary queries, the same ranking.

An inference-free score is ``Σ_j idf_j w_j(d)`` over the tokens of the query. With
``u_j = idf_j w_j`` stored it is the plain sum of ``u_j``: what an engine needs that knows binary
queries only. Terms whose table weight is 0 vanish from the documents; no query ever had them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsr.core.errors import EncoderError
from lsr.core.origins import Origins, places_in
from lsr.core.sparse import Float32Array, SparseMatrix
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import IdfConvention, QueryEncoder, Span
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical_channel import LexicalChannelEncoder, LexicalChannelQuery
from lsr.encoders.pruning import select
from lsr.encoders.tables import fingerprint

__all__ = ["FoldedEncoder", "fold", "fold_encoder"]


def fold(matrix: SparseMatrix, weights: Float32Array) -> SparseMatrix:
    """Return `matrix` with every column multiplied by its weight; columns of weight 0 vanish.

    Parameters
    ----------
    matrix : SparseMatrix
        Document vectors.
    weights : float32, shape (matrix.size,)
        Not negative.
    """
    scaled = matrix.weights * weights[matrix.terms]
    return select(SparseMatrix(matrix.indptr, matrix.terms, scaled, matrix.shape), scaled > 0)


class FoldedEncoder:
    """An inference-free encoder whose documents carry the query table's weights.

    Parameters
    ----------
    encoder : ComposedEncoder or LexicalChannelEncoder
        With a `LookupQueryEncoder` as its query side, or as that of its learned part.

    Raises
    ------
    EncoderError
        If its query side is no table.
    """

    kind = "folded"

    def __init__(self, encoder: ComposedEncoder | LexicalChannelEncoder) -> None:
        query = encoder.query if isinstance(encoder, ComposedEncoder) else encoder
        if not isinstance(query, LookupQueryEncoder | LexicalChannelQuery) or query.weights is None:
            raise EncoderError(
                f"The query side of {encoder.name!r} is no table: its weights differ from query "
                "to query and cannot be moved into the documents."
            )
        self.encoder = encoder
        self._weights = query.weights
        self.query = query.unweighted()

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.encoder.name}/folded"

    @property
    def fingerprint(self) -> str:
        """Hash of the encoder that is folded."""
        return fingerprint({"folded": self.encoder.fingerprint}, {}, self.vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of both sides."""
        return self.encoder.vocabulary

    @property
    def idf(self) -> IdfConvention:
        """``"document"``."""
        return "document"

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return 1 (or its count, as the table does) for every query token with a weight."""
        return self.query.encode_queries(texts, batch_size=batch_size)

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return the document vectors times the table."""
        plain = self.encoder.encode_documents(texts, batch_size=batch_size)
        return fold(plain, self._weights)

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return `encode_documents`' vectors and where in the texts each weight comes from."""
        plain, origins = self.encoder.encode_with_origins(texts, batch_size=batch_size)
        folded = fold(plain, self._weights)
        return folded, origins.take(places_in(plain, folded))

    def spans(self, text: str) -> list[Span]:
        """Return the query side's spans."""
        return self.query.spans(text)

    def save_query_side(self, path: Path) -> None:
        """Write the binary query side."""
        self.query.save_query_side(path)

    def save(self, path: Path) -> None:
        """Write the encoder that is folded, and that it is."""
        write_encoder_folder(
            path,
            kind=self.kind,
            name=self.name,
            config={},
            arrays={},
            fill=lambda folder: self.encoder.save(folder / "encoder"),
        )

    @classmethod
    def from_folder(
        cls, folder: EncoderFolder, *, device: str | None, dtype: str | None
    ) -> FoldedEncoder:
        """Return the encoder that `save` wrote."""
        from lsr.encoders.loading import load_encoder

        encoder = load_encoder(folder.path / "encoder", device=device, dtype=dtype)
        return fold_encoder(encoder)


def fold_encoder(encoder: QueryEncoder) -> FoldedEncoder:
    """Return `encoder` folded.

    Raises
    ------
    EncoderError
        If it has no query table of its own.
    """
    if not isinstance(encoder, ComposedEncoder | LexicalChannelEncoder):
        raise EncoderError(
            f"The encoder {encoder.name!r} has no query table that could be moved into the documents."
        )
    return FoldedEncoder(encoder)
