"""``lsr vectors``: info, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lsr.core.options import JsonOption, OverwriteOption, QuietOption, SkipBadLinesOption

__all__ = ["register"]

CollectionArgument = Annotated[
    Path, typer.Argument(help="An encoded collection (lsr encode).", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Mount ``lsr vectors``."""
    verbs = typer.Typer(
        name="vectors",
        help="Encoded collections: look into one, import and export.",
        no_args_is_help=True,
    )
    verbs.command("info")(info)
    verbs.command("import")(import_command)
    verbs.command("export")(export)
    app.add_typer(verbs)


def info(
    collection: CollectionArgument, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show what an encoded collection holds and where it comes from.

    Example: `lsr vectors info scifact.vectors`
    """
    from lsr.core import console
    from lsr.data.vectors import open_vectors

    console.configure(quiet=quiet, json_output=as_json)
    _emit(open_vectors(collection))


def _emit(vectors: Any, bad: Any = None) -> None:
    from lsr.core import console

    details = vectors.manifest.details
    n_documents = vectors.n_documents
    result = {
        "path": str(vectors.path),
        "n_documents": n_documents,
        "nnz": vectors.nnz,
        "terms_per_document": round(vectors.nnz / n_documents, 2) if n_documents else 0.0,
        "vocabulary_size": vectors.vocabulary_size,
        "vocabulary_fingerprint": details["vocabulary_fingerprint"],
        "encoder": details["encoder"],
        "idf": details["idf"],
        "has_query_encoder": vectors.query_encoder_path is not None,
        "n_shards": vectors.n_shards,
        "bytes": sum(entry.bytes for entry in vectors.manifest.files.values()),
        "created": vectors.manifest.created,
    }
    if bad is not None:
        result["bad_lines"] = bad.to_json()
    rows = [
        ("documents", f"{n_documents:,}"),
        ("terms a document", f"{result['terms_per_document']:.1f}"),
        ("vocabulary", f"{vectors.vocabulary_size:,} · {result['vocabulary_fingerprint'][:12]}"),
        ("encoder", f"{result['encoder']} (idf: {result['idf']})"),
        ("query encoder", "in the folder" if result["has_query_encoder"] else "none"),
        ("shards", str(vectors.n_shards)),
        ("size", f"{result['bytes'] / 1e6:,.1f} MB"),
        ("made", result["created"]),
    ]
    console.emit(result, lambda: console.print_table(["", str(vectors.path)], rows))


FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        help="jsonl; seismic (jsonl with texts); anserini (JSON impacts); topics (queries as "
        "repeated tokens); ciff; csr (big-ann); lsr-benchmark.",
    ),
]


def import_command(
    source: Annotated[Path, typer.Argument(help="The file to read.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new encoded collection.")],
    form: FormatOption = "jsonl",
    vocabulary: Annotated[
        Path | None,
        typer.Option("--vocabulary", help="A JSON array of tokens [default: the file's own]."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="Name of what made the vectors [default: as exported]."),
    ] = None,
    idf: Annotated[
        str | None,
        typer.Option(
            "--idf",
            help="Which side's weights carry the idf: query, document, none [default: as "
            "exported, else none].",
        ),
    ] = None,
    query_encoder: Annotated[
        Path | None, typer.Option("--query-encoder", help="A saved query side to go with it.")
    ] = None,
    skip_bad_lines: SkipBadLinesOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import another system's vectors as an encoded collection, ready for `lsr index build`.

    A line of JSON is `{"id": …, "vector": {"token": weight}}`. Example:
    `lsr vectors import vectors.jsonl.gz --out mine.vectors --encoder splade-v3`
    """
    from lsr.core import console
    from lsr.core.vocabulary import Vocabulary
    from lsr.data.bad_lines import BadLines
    from lsr.data.interchange import import_vectors, require_format

    console.configure(quiet=quiet, json_output=as_json)
    bad = BadLines(skip_bad_lines)
    vectors = import_vectors(
        source,
        out,
        require_format(form),
        vocabulary=Vocabulary.load(vocabulary) if vocabulary is not None else None,
        encoder=encoder,
        idf=idf,
        query_encoder=query_encoder,
        bad=bad,
        overwrite=overwrite,
    )
    bad.log()
    _emit(vectors, bad)


def export(
    collection: CollectionArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; .gz and .zst compress text.")],
    form: FormatOption = "jsonl",
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            help="anserini, topics, ciff: weights times this, rounded [default: 100].",
        ),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="seismic: the encoded data set, for its texts.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export an encoded collection for another system.

    FILE.meta.json beside it says what the file cannot: encoder, scale, where the idf stands.
    Example: `lsr vectors export scifact.vectors --format ciff --out scifact.ciff`
    """
    from lsr.core import console
    from lsr.core.errors import ArtifactExistsError
    from lsr.data.interchange import export_vectors, require_format
    from lsr.data.vectors import open_vectors

    console.configure(quiet=quiet, json_output=as_json)
    if out.exists() and not overwrite:
        raise ArtifactExistsError(f"{out} exists already.", hint="Pass --overwrite to replace it.")
    documents = None
    if corpus is not None:
        from lsr.data.registry import load_dataset

        documents = load_dataset(corpus).documents()
    vectors = open_vectors(collection)
    sidecar = export_vectors(vectors, out, require_format(form), scale=scale, documents=documents)
    result = {"path": str(out), "bytes": out.stat().st_size, **sidecar.model_dump()}
    console.emit(
        result,
        lambda: typer.echo(
            f"{sidecar.n_documents:,} vectors, {sidecar.nnz:,} weights, "
            f"{result['bytes']:,} bytes: {out}"
        ),
    )
