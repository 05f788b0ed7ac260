"""An index folder on disk as something that can be evaluated."""

from __future__ import annotations

from pathlib import Path

from eval.evaluate import SearchTarget
from eval.results import Efficiency
from lsr.core.errors import EncoderNotFoundError

__all__ = ["open_target"]


def open_target(
    path: Path, *, encoder: str | None = None, system: str | None = None
) -> SearchTarget:
    """Return the index folder at `path` with what encodes its queries.

    Parameters
    ----------
    path : Path
        Built by ``lsr index build``.
    encoder : str, optional
        Encodes the queries; the query side the index carries otherwise.
    system : str, optional
        How results call it; encoder and layout otherwise.

    Raises
    ------
    EncoderNotFoundError
        If the index carries no query side and none is given.
    VocabularyMismatchError
        If the encoder has another vocabulary than the index.
    """
    from indexing import IndexFolder
    from lsr.encoders import load_encoder

    folder = IndexFolder.open(path)
    chosen = encoder if encoder is not None else folder.query_encoder_path
    if chosen is None:
        raise EncoderNotFoundError(
            f"The index {path} carries no query encoder.",
            hint="Pass --encoder with the encoder that made its vectors.",
        )
    model = load_encoder(chosen)
    folder.vocabulary.require_same(
        model.vocabulary.fingerprint, mine=f"The index {path}", theirs=f"the encoder {model.name}"
    )
    kind = getattr(folder.index, "kind", type(folder.index).__name__)
    details = folder.manifest.details
    return SearchTarget(
        system or f"{model.name} · {kind}",
        folder.index,
        folder.doc_ids,
        model,
        known=Efficiency(index_bytes=folder.index.bytes_by_part(), build_s=details.get("build_s")),
    )
