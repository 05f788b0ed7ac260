"""Sparse vectors as integers: what Lucene's impact search and its JSON format hold.

Lucene counts a term's impact as its frequency, so weights must be whole numbers. `quantise`
makes them, and this system's own exact index over the same integers must rank alike: that is
how the export, Lucene and the index check each other.

``OUT/corpus/*.jsonl`` holds ``{"id", "contents", "vector": {token: impact}}`` a line, as Anserini's
``JsonVectorCollection`` reads it; ``OUT/queries.tsv`` each query as its tokens, repeated by
weight; ``OUT/manifest.json`` the scale and where the idf stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lsr.core.artifact import write_artifact
from lsr.core.errors import ArgumentError, DataError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary

__all__ = ["DEFAULT_SCALE", "IMPACTS_FORMAT", "quantise", "write_impacts"]

IMPACTS_FORMAT = 1
DEFAULT_SCALE = 100.0
"""What SPLADE's own export multiplies by."""

_HEAVIEST = 1 << 15


def quantise(matrix: SparseMatrix, *, scale: float = DEFAULT_SCALE) -> SparseMatrix:
    """Return `matrix` times `scale`, rounded to whole numbers (as float32); zeros are dropped.

    Raises
    ------
    ArgumentError
        If `scale` is not positive.
    DataError
        If an impact would exceed 32,768, beyond which a sum over a query is not exact in float32.
    """
    if not scale > 0:
        raise ArgumentError(f"The scale must be greater than 0, got {scale!r}.")
    weights = np.rint(matrix.weights.astype(np.float64) * scale).astype(np.float32)
    if len(weights) and float(weights.max()) > _HEAVIEST:
        raise DataError(
            f"The heaviest weight becomes {weights.max():.0f}, more than {_HEAVIEST}.",
            hint="Choose a smaller scale.",
        )
    keep = weights > 0
    kept = np.concatenate(([0], np.cumsum(keep)))
    return SparseMatrix(
        kept[matrix.indptr].astype(np.int64), matrix.terms[keep], weights[keep], matrix.shape
    )


def write_impacts(
    out: Path,
    parts: Iterable[tuple[SparseMatrix, Sequence[str]]],
    queries: SparseMatrix | None,
    query_ids: Sequence[str],
    vocabulary: Vocabulary,
    *,
    idf: str,
    encoder: str,
    scale: float = DEFAULT_SCALE,
    query_scale: float = DEFAULT_SCALE,
    overwrite: bool = False,
) -> Path:
    """Write a collection, and queries if given, as impacts; return `out`.

    Parameters
    ----------
    out : Path
        The new folder.
    parts : iterable of (SparseMatrix, sequence of str)
        Document vectors and their ids; quantised here.
    queries, query_ids
        Query vectors and their ids.
    vocabulary : Vocabulary
        Of all of them. Its tokens must hold no white space, which separates them in Lucene.
    idf : {"query", "document", "none"}
        Which side's weights carry the idf; recorded.
    encoder : str
        What made the vectors; recorded.
    scale, query_scale : float
        See `quantise`.
    overwrite : bool
        Replace what stands at `out`.

    Raises
    ------
    DataError
        If a token that is used holds white space, or an impact is too large.
    """
    details = {
        "vocabulary_fingerprint": vocabulary.fingerprint,
        "idf": idf,
        "encoder": encoder,
        "scale": scale,
        "query_scale": query_scale,
    }
    manifest = Manifest.new("impacts", IMPACTS_FORMAT, details=details)
    tokens = vocabulary.tokens
    spaced = {term for term, token in enumerate(tokens) if not token or token.split() != [token]}
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        (writer.path / "corpus").mkdir()
        for number, (matrix, doc_ids) in enumerate(parts):
            impacts = quantise(matrix, scale=scale)
            _check_tokens(impacts, spaced, tokens)
            target = writer.path / "corpus" / f"part-{number:05d}.jsonl"
            with open(target, "w", encoding="utf-8") as stream:
                for doc_id, vector in zip(doc_ids, impacts, strict=True):
                    weights = zip(vector.terms.tolist(), vector.weights.tolist(), strict=True)
                    record = {
                        "id": doc_id,
                        "contents": "",
                        "vector": {tokens[term]: int(weight) for term, weight in weights},
                    }
                    stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        if queries is not None:
            impacts = quantise(queries, scale=query_scale)
            _check_tokens(impacts, spaced, tokens)
            with open(writer.path / "queries.tsv", "w", encoding="utf-8") as stream:
                for query_id, vector in zip(query_ids, impacts, strict=True):
                    weights = zip(vector.terms.tolist(), vector.weights.tolist(), strict=True)
                    words = [" ".join([tokens[term]] * int(weight)) for term, weight in weights]
                    stream.write(f"{query_id}\t{' '.join(words)}\n")
    return out


def _check_tokens(matrix: SparseMatrix, spaced: set[int], tokens: Sequence[str]) -> None:
    if not spaced:
        return
    bad = np.intersect1d(matrix.terms, np.fromiter(spaced, dtype=np.int32))
    if len(bad):
        raise DataError(
            f"The token {tokens[int(bad[0])]!r} is empty or holds white space, which Lucene would "
            "split."
        )
