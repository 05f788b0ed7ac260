"""An index folder on disk as something that can be evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.evaluate import SearchTarget
from eval.latency import spread
from eval.results import Efficiency
from eval.search_params import parse_params
from indexing.base import SparseIndex
from lsr.core.errors import ArgumentError, EncoderNotFoundError
from lsr.core.sparse import SparseMatrix

__all__ = ["SAMPLED_ROWS", "open_target", "sample_vectors"]

SAMPLED_ROWS = 2000


def open_target(
    path: Path,
    *,
    encoder: str | None = None,
    system: str | None = None,
    params: Mapping[str, Any] | None = None,
    target_recall: float | None = None,
) -> SearchTarget:
    """Return the index folder at `path` with what encodes its queries.

    Parameters
    ----------
    path : Path
        Built by ``lsr index build``.
    encoder : str, optional
        Encodes the queries; the query side the index carries otherwise.
    system : str, optional
        How results call it; encoder, layout and parameters otherwise.
    params : mapping, optional
        Search parameters of the layout.
    target_recall : float, optional
        Search with the parameters that ``lsr index tune`` found for this recall.

    Raises
    ------
    ArgumentError
        If both `params` and `target_recall` are given, or the index cannot be searched so.
    EncoderNotFoundError
        If the index carries no query side and none is given.
    VocabularyMismatchError
        If the encoder has another vocabulary than the index.
    """
    from indexing import IndexFolder
    from lsr.encoders import load_encoder

    if params and target_recall is not None:
        raise ArgumentError("Give search parameters or a target recall, not both.")
    folder = IndexFolder.open(path)
    chosen_params = (
        folder.params_for(target_recall)
        if target_recall is not None
        else parse_params(folder.layout, params or {})
    )
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
    return SearchTarget(
        system or " · ".join([model.name, folder.layout, *_shown(params, target_recall)]),
        folder.index,
        folder.doc_ids,
        model,
        params=chosen_params,
        vectors=lambda: sample_vectors(folder.index),
        known=Efficiency(
            index_bytes=folder.index.bytes_by_part(),
            build_s=folder.manifest.details["build_s"],
        ),
    )


def _shown(params: Mapping[str, Any] | None, target_recall: float | None) -> list[str]:
    if target_recall is not None:
        return [f"recall {target_recall:g}"]
    return [" ".join(f"{name}={value}" for name, value in params.items())] if params else []


def sample_vectors(index: SparseIndex, limit: int = SAMPLED_ROWS) -> Iterator[SparseMatrix]:
    """Yield at most `limit` document vectors of an index, evenly spaced over its rows.

    An index need not be able to give back its rows fast (an inverted one searches every list for
    each), so the sparsity of an index is measured on a sample; its size stands in the results.
    """
    rows = spread(range(index.n_documents), limit)
    yield SparseMatrix.from_rows((index.document(row) for row in rows), index.vocabulary_size)
