"""Every format by name: what a collection is exported to and imported from.

Formats with whole numbers (``anserini``, ``topics``, ``ciff``) multiply weights by a scale and
round; the others keep them bit for bit. A sidecar beside each file records the scale, the encoder
and where the idf stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from lsr.core.errors import ArgumentError, DataError, near_names
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines
from lsr.data.interchange.anserini import (
    collect_topic_tokens,
    read_topics,
    write_anserini,
    write_topics,
)
from lsr.data.interchange.ciff import read_ciff, read_ciff_description, write_ciff
from lsr.data.interchange.csr import read_csr, read_csr_vocabulary, write_csr
from lsr.data.interchange.impacts import DEFAULT_SCALE
from lsr.data.interchange.lsr_benchmark import read_lsr_benchmark, write_lsr_benchmark
from lsr.data.interchange.seismic import write_seismic
from lsr.data.interchange.sidecar import Sidecar, read_sidecar, write_sidecar
from lsr.data.vector_jsonl import (
    collect_vocabulary,
    iter_rows,
    read_vectors,
    shard_rows,
    write_vectors_jsonl,
)
from lsr.data.vectors import VectorCollection, write_vectors

__all__ = ["FORMATS", "Format", "export_vectors", "import_vectors", "require_format"]

Format = Literal["jsonl", "seismic", "anserini", "topics", "ciff", "csr", "lsr-benchmark"]
FORMATS: tuple[Format, ...] = get_args(Format)
_IDF = ("query", "document", "none")
_SCALED = ("anserini", "topics", "ciff")

Parts = Iterable[tuple[SparseMatrix, Sequence[str]]]


def require_format(name: str) -> Format:
    """Return `name` if it is a format.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    for form in FORMATS:
        if form == name:
            return form
    raise ArgumentError(
        f"Unknown format {name!r}; known are {', '.join(FORMATS)}.{near_names(name, FORMATS)}"
    )


def export_vectors(
    collection: VectorCollection,
    path: Path,
    form: Format,
    *,
    scale: float | None = None,
    documents: Iterable[Document] | None = None,
) -> Sidecar:
    """Write a collection in another system's format, and its sidecar; return the sidecar.

    Parameters
    ----------
    collection : VectorCollection
        Documents, or encoded queries (``topics`` is a format for queries).
    path : Path
        The file.
    form : Format
        ``jsonl``, ``seismic`` (with texts), ``anserini`` (JSON impacts), ``topics`` (repeated
        tokens), ``ciff``, ``csr`` (big-ann), ``lsr-benchmark`` (its archive of arrays).
    scale : float, optional
        For formats of whole numbers; default 100.
    documents : iterable of Document, optional
        The encoded texts, for ``seismic``.

    Raises
    ------
    ArgumentError
        If an option does not belong to the format.
    DataError
        If the vectors do not fit the format.
    MissingDependencyError
        If the format needs a package that is not installed.
    """
    if scale is not None and form not in _SCALED:
        raise ArgumentError(f"The format {form!r} keeps weights as they are; it takes no scale.")
    if documents is not None and form != "seismic":
        raise ArgumentError(f"The format {form!r} holds no texts.")
    tokens = collection.vocabulary.tokens
    nnz = collection.nnz
    whole_numbers = DEFAULT_SCALE if scale is None else scale
    if form == "jsonl":
        write_vectors_jsonl(iter_rows(collection), tokens, path)
    elif form == "seismic":
        write_seismic(collection, path, documents=documents)
    elif form == "csr":
        write_csr(collection, path)
    elif form == "lsr-benchmark":
        write_lsr_benchmark(collection, path)
    elif form == "ciff":
        nnz = write_ciff(collection, path, scale=whole_numbers)
    else:
        write = write_anserini if form == "anserini" else write_topics
        nnz = write(iter_rows(collection), tokens, path, scale=whole_numbers)
    kept_scale = whole_numbers if form in _SCALED else None
    sidecar = Sidecar.of(collection, form, nnz=nnz, scale=kept_scale)
    write_sidecar(path, sidecar)
    return sidecar


def import_vectors(
    path: Path,
    out: Path,
    form: Format,
    *,
    vocabulary: Vocabulary | None = None,
    encoder: str | None = None,
    idf: str | None = None,
    query_encoder: Path | None = None,
    bad: BadLines | None = None,
    overwrite: bool = False,
) -> VectorCollection:
    """Read another system's file into an encoded collection.

    Weights are taken as they stand: impacts stay whole numbers, which changes no ranking.

    Parameters
    ----------
    path : Path
        The file. ``seismic`` and ``anserini`` are read like ``jsonl``.
    out : Path
        The new collection's folder.
    form : Format
        Its format.
    vocabulary : Vocabulary, optional
        Of the encoder; default the file's own tokens (for ``csr``: what stands beside it).
    encoder, idf : str, optional
        What made the vectors, and where the idf stands; default what the sidecar says, else
        ``"imported"`` and ``"none"``.
    query_encoder : Path, optional
        Folder with the query side, copied.
    bad : BadLines, optional
        The budget of bad lines, for formats of lines.
    overwrite : bool
        Replace what stands at `out`.

    Raises
    ------
    ArgumentError
        If `idf` is unknown, or contradicts the sidecar.
    DataError, RecordError
        If the file cannot be used.
    """
    sidecar = read_sidecar(path)
    if sidecar is None:
        sidecar = _described(path, form)
    idf = _resolve_idf(idf, sidecar, path)
    bad = bad or BadLines()
    chosen, parts = _read(path, form, vocabulary, bad)
    if not len(chosen):
        raise DataError(f"{path} has no vector with a weight.", hint="Check the path.")
    return write_vectors(
        out,
        parts,
        chosen,
        encoder=encoder or (sidecar.encoder if sidecar else "imported"),
        idf=idf,
        query_encoder=query_encoder,
        config={
            "imported_from": path.name,
            "format": form,
            "scale": sidecar.scale if sidecar else None,
            "skip_bad_lines": bad.budget,
        },
        overwrite=overwrite,
    )


def _resolve_idf(idf: str | None, sidecar: Sidecar | None, path: Path) -> str:
    if idf is not None and idf not in _IDF:
        raise ArgumentError(f"idf must be query, document or none, got {idf!r}.")
    if sidecar is None:
        return idf or "none"
    if idf is not None and idf != sidecar.idf:
        raise ArgumentError(
            f"idf is given as {idf!r}, but {path} was written with {sidecar.idf!r}.",
            hint="Leave it out, or remove the .meta.json if that is wrong.",
        )
    return sidecar.idf


def _described(path: Path, form: Format) -> Sidecar | None:
    """Return what a CIFF file of ours says about itself, which travels without its sidecar."""
    if form != "ciff":
        return None
    description = read_ciff_description(path)
    try:
        return Sidecar(format=form, n_documents=0, nnz=0, **json.loads(description))
    except (ValueError, TypeError):
        # The header's text is free: another writer's says nothing we could rely on.
        return None


def _read(
    path: Path, form: Format, vocabulary: Vocabulary | None, bad: BadLines
) -> tuple[Vocabulary, Parts]:
    if form == "ciff":
        index = read_ciff(path, vocabulary=vocabulary)
        return index.vocabulary, [(index.matrix, index.doc_ids)]
    if form == "csr":
        chosen = vocabulary if vocabulary is not None else read_csr_vocabulary(path)
        return chosen, read_csr(path)
    if form == "lsr-benchmark":
        return read_lsr_benchmark(path, vocabulary)
    if form == "topics":
        chosen = vocabulary if vocabulary is not None else collect_topic_tokens(path, bad=bad)
        return chosen, shard_rows(read_topics(path, chosen, bad=bad), len(chosen))
    chosen = vocabulary if vocabulary is not None else collect_vocabulary(path, bad=bad)
    return chosen, shard_rows(read_vectors(path, chosen, bad=bad), len(chosen))
