"""What an exported file cannot say itself, in ``FILE.meta.json`` beside it.

Above all where the idf stands: weights with the idf folded in, searched with queries that carry
it too, give a wrong ranking and no error.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lsr.core.artifact import write_text_atomic
from lsr.core.errors import DataError
from lsr.data.vectors import VectorCollection

__all__ = ["Sidecar", "read_sidecar", "sidecar_path", "write_sidecar"]


class Sidecar(BaseModel):
    """The origin of an exported file.

    Attributes
    ----------
    format : str
        One of `lsr.data.interchange.FORMATS`.
    encoder : str
        What made the vectors.
    idf : {"query", "document", "none"}
        Which side's weights carry the inverse document frequency.
    scale : float or None
        Weights were multiplied by it and rounded; None: they are as they were.
    n_documents, nnz : int
        Rows and weights that were written; rounding may have dropped some weights.
    vocabulary_fingerprint : str
        Of the vocabulary with all its tokens, used or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    encoder: str
    idf: str
    scale: float | None
    n_documents: int
    nnz: int
    vocabulary_fingerprint: str

    @classmethod
    def of(
        cls, collection: VectorCollection, form: str, *, nnz: int, scale: float | None = None
    ) -> Sidecar:
        """Return the sidecar of an export of `collection`."""
        details = collection.manifest.details
        return cls(
            format=form,
            encoder=details["encoder"],
            idf=details["idf"],
            scale=scale,
            n_documents=collection.n_documents,
            nnz=nnz,
            vocabulary_fingerprint=details["vocabulary_fingerprint"],
        )


def sidecar_path(path: Path) -> Path:
    """Return where the sidecar of a file stands."""
    return path.with_name(f"{path.name}.meta.json")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of the file `path`."""
    write_text_atomic(sidecar_path(path), sidecar.model_dump_json(indent=1) + "\n")


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar of the file `path`, or None if it has none.

    Raises
    ------
    DataError
        If it is there and cannot be read.
    """
    file = sidecar_path(path)
    if not file.is_file():
        return None
    try:
        return Sidecar.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} is no description of an export: {error}", hint="Remove it or export again."
        ) from error
