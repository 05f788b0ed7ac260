"""``lsr index``: build, info, verify, tune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lsr.core.options import (
    ConfigOption,
    IdFieldOption,
    JsonOption,
    OverwriteOption,
    QuietOption,
    SetOption,
    SkipBadLinesOption,
    TextFieldOption,
    ThreadsOption,
    TitleFieldOption,
)

if TYPE_CHECKING:
    from indexing.config import IndexConfig
    from indexing.filters_fields import FieldType

__all__ = ["register"]

IndexArgument = Annotated[Path, typer.Argument(help="An index folder.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Mount ``lsr index``."""
    from indexing import collection_commands, dense_commands

    verbs = typer.Typer(
        name="index",
        help="Build an index, look into it, verify it, tune its search.",
        no_args_is_help=True,
    )
    verbs.command("build")(build)
    verbs.command("info")(info)
    verbs.command("verify")(verify)
    collection_commands.register(verbs)
    verbs.command("tune")(tune)
    verbs.command("dense")(dense_commands.dense)
    app.add_typer(verbs)


def build(
    vectors: Annotated[Path, typer.Argument(help="An encoded collection (lsr encode).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new index folder.")],
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus", help="The encoded dataset, by name or path: its documents are stored too."
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            help="exact, clustered or seismic; otherwise exact below 50,000 documents, clustered "
            "from there on. The same as --set layout.kind=…",
        ),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    threads: ThreadsOption = None,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="NAME=TYPE",
            help="Type of a metadata field, for filters: string, number, boolean, date, stored; "
            "otherwise that of its values.",
        ),
    ] = None,
    dense: Annotated[
        Path | None,
        typer.Option(
            "--dense", help="A bi-encoder's folder: add its vectors too (lsr index dense)."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the index of an encoded collection.

    A corpus that was encoded with a field map or skipped lines needs the same flags here.

    Example: `lsr index build scifact.vectors --out scifact.index --corpus scifact`
    """
    from indexing.build import build_index
    from indexing.dense_commands import described, embed
    from indexing.stats import index_info
    from lsr.core import console
    from lsr.core.errors import ArgumentError

    console.configure(quiet=quiet, json_output=as_json)
    resolved = _config(config, layout, overrides)
    if dense is not None and corpus is None:
        raise ArgumentError("--dense encodes the documents: it needs --corpus.")
    documents = None
    if corpus is not None:
        from lsr.data import BadLines, FieldMap, load_dataset

        names = FieldMap.from_flags(id_field, text_field, title_field)
        bad = BadLines(skip_bad_lines)
        documents = load_dataset(corpus, fields=names, bad_lines=bad).documents()
    with build_index(
        vectors,
        out,
        resolved,
        corpus=documents,
        fields=_fields(fields or []),
        overwrite=overwrite,
        n_threads=threads,
    ) as folder:
        result = index_info(folder)
    result["dense"] = described(embed(out, dense)) if dense is not None else None
    console.emit(result, lambda: _show(result))


def _fields(given: list[str]) -> dict[str, FieldType]:
    from indexing.filters_fields import FIELD_TYPES
    from lsr.core.errors import ArgumentError, near_names

    fields: dict[str, FieldType] = {}
    for entry in given:
        name, _, kind = entry.partition("=")
        if not name or kind not in FIELD_TYPES:
            raise ArgumentError(
                f"--field {entry}: expected NAME=TYPE, with one of {', '.join(FIELD_TYPES)}."
                f"{near_names(kind, FIELD_TYPES)}"
            )
        fields[name] = cast("FieldType", kind)
    return fields


def _config(path: Path | None, layout: str | None, overrides: list[str] | None) -> IndexConfig:
    from indexing.config import IndexConfig
    from lsr.core.config import load_config

    chosen = [f"layout.kind={layout}"] if layout is not None else []
    return load_config(IndexConfig, path, [*chosen, *(overrides or [])])


def info(index: IndexArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Show what an index is made of: counts, bytes by part, origin.

    Example: `lsr index info scifact.index`
    """
    from indexing.collection import Collection
    from indexing.collection_commands import collection_info, is_collection, show_info
    from indexing.dense_commands import described as dense_info
    from indexing.dense_folder import DenseFolder
    from indexing.stats import index_info
    from indexing.storage import IndexFolder
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    if is_collection(index):
        with Collection.open(index) as collection:
            described = collection_info(collection)
        console.emit(described, lambda: show_info(described))
        return
    with IndexFolder.open(index) as folder:
        result = index_info(folder)
        half = DenseFolder.of(folder)
        result["dense"] = dense_info(half) if half is not None else None
    console.emit(result, lambda: _show(result))


def verify(index: IndexArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Read every file of an index and compare it with its checksum.

    Leaves with 1 if one differs. Example: `lsr index verify scifact.index`
    """
    from indexing.collection_commands import is_collection, verify_collection
    from indexing.dense_folder import DenseFolder
    from indexing.storage import IndexFolder
    from lsr.core import console
    from lsr.core.errors import CheckFailedError

    console.configure(quiet=quiet, json_output=as_json)
    if is_collection(index):
        verify_collection(index)
        return
    with IndexFolder.open(index) as folder:
        problems = folder.verify()
        n_files = len(folder.manifest.files)
        if dense := DenseFolder.of(folder):
            problems += [f"dense/{problem}" for problem in dense.verify()]
            n_files += len(dense.manifest.files)
    result = {"path": str(index), "n_files": n_files, "problems": problems}
    if problems:
        raise CheckFailedError(
            f"{index} is damaged: {'; '.join(problems)}.",
            hint="Restore it from a copy or build it again.",
        )
    console.emit(result, lambda: typer.echo(f"OK: {n_files} files of {index} are as written."))


def tune(
    index: IndexArgument,
    queries: Annotated[
        Path,
        typer.Option("--queries", help="Encoded queries: lsr encode DATASET --queries SPLIT."),
    ],
    recall: Annotated[
        float, typer.Option("--recall", min=0, max=1, help="Recall@k to reach, of exact search.")
    ] = 0.95,
    p99_ms: Annotated[
        float | None, typer.Option("--p99-ms", min=0, help="Slowest percentile allowed.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Depth of the recall.")] = 10,
    seed: Annotated[int, typer.Option(help="Which half of the queries is held out.")] = 42,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve of recall and time here (.png).")
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the fastest search parameters for a recall, and keep them with the index.

    Half of the queries choose, the other half measure what is stored.

    Example: `lsr index tune scifact.index --queries scifact.queries --recall 0.95 --p99-ms 2`
    """
    from indexing.collection import Collection
    from indexing.collection_commands import is_collection
    from indexing.collection_tuning import tune_collection
    from indexing.storage import IndexFolder
    from indexing.tuning import TuningOptions, load_queries, save_tuning
    from indexing.tuning import tune as run_tuning
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    options = TuningOptions(recall=recall, k=k, p99_ms=p99_ms, seed=seed, n_threads=threads)
    if is_collection(index):
        with Collection.open(index) as collection:
            fingerprint = collection.manifest.details["vocabulary_fingerprint"]
            tuning = tune_collection(collection, load_queries(queries, fingerprint), options)
    else:
        with IndexFolder.open(index) as folder:
            fingerprint = folder.manifest.details["vocabulary_fingerprint"]
            tuning = run_tuning(folder.index, load_queries(queries, fingerprint), options)
            tuning = save_tuning(folder.path, tuning)
    if plot is not None:
        from indexing.tuning_plot import plot_tuning

        plot_tuning(tuning, plot)
    result = tuning.model_dump(mode="json")
    console.emit(result, lambda: _show_tuning(result))


def _show_tuning(result: dict[str, Any]) -> None:
    from lsr.core import console

    rows = []
    for target, point in sorted(result["targets"].items()):
        params = ", ".join(f"{name} {value:g}" for name, value in point["params"].items() if value)
        times = [round(point[name] / 1000, 3) for name in ("mean_us", "p50_us", "p99_us")]
        rows.append([target, point["recall"], *times, params])
    console.print_table(
        ["target", f"recall@{result['k']}", "mean ms", "p50 ms", "p99 ms", "parameters"],
        rows,
        title=f"{result['n_held_out']} held-out queries, one thread",
    )


def _show(result: dict[str, Any]) -> None:
    from indexing.collection_commands import described_dense, described_fields
    from lsr.core import console

    lines = [
        ("layout", result["layout"]),
        ("documents", f"{result['n_documents']:,}"),
        ("terms a document", f"{result['terms_per_document']:.1f}"),
        ("vocabulary", f"{result['vocabulary_size']:,} · {result['vocabulary_fingerprint'][:12]}"),
        ("encoder", f"{result['encoder']} (idf: {result['idf']})"),
        ("query encoder", "in the folder" if result["has_query_encoder"] else "none"),
        ("stored documents", "yes" if result["has_documents"] else "no"),
        ("fields", described_fields(result["fields"])),
        ("dense half", described_dense(result["dense"])),
        *((f"  {part}", _megabytes(size)) for part, size in result["bytes"].items()),
        ("index", _megabytes(result["index_bytes"])),
        ("whole folder", _megabytes(result["files_bytes"])),
        ("built", f"{result['created']} in {result['build_s']} s"),
    ]
    console.print_table(["", result["path"]], lines)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"
