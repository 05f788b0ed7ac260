"""``lsr index``: build, info, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.core.options import (
    ConfigOption,
    JsonOption,
    OverwriteOption,
    QuietOption,
    SetOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from indexing.config import IndexConfig

__all__ = ["register"]

IndexArgument = Annotated[Path, typer.Argument(help="An index folder.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Mount ``lsr index``."""
    verbs = typer.Typer(
        name="index", help="Build an index, look into it, verify it.", no_args_is_help=True
    )
    verbs.command("build")(build)
    verbs.command("info")(info)
    verbs.command("verify")(verify)
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
        str | None, typer.Option("--layout", help="The same as --set layout.kind=…")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the index of an encoded collection.

    Example: `lsr index build scifact.vectors --out scifact.index --corpus scifact`
    """
    from indexing.build import build_index
    from indexing.stats import index_info
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    resolved = _config(config, layout, overrides)
    documents = None
    if corpus is not None:
        from lsr.data import load_dataset

        documents = load_dataset(corpus).documents()
    with build_index(
        vectors, out, resolved, corpus=documents, overwrite=overwrite, n_threads=threads
    ) as folder:
        result = index_info(folder)
    console.emit(result, lambda: _show(result))


def _config(path: Path | None, layout: str | None, overrides: list[str] | None) -> IndexConfig:
    from indexing.config import IndexConfig
    from lsr.core.config import load_config

    chosen = [f"layout.kind={layout}"] if layout is not None else []
    return load_config(IndexConfig, path, [*chosen, *(overrides or [])])


def info(index: IndexArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Show what an index is made of: counts, bytes by part, origin.

    Example: `lsr index info scifact.index`
    """
    from indexing.stats import index_info
    from indexing.storage import IndexFolder
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    with IndexFolder.open(index) as folder:
        result = index_info(folder)
    console.emit(result, lambda: _show(result))


def verify(index: IndexArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Read every file of an index and compare it with its checksum.

    Leaves with 1 if one differs. Example: `lsr index verify scifact.index`
    """
    from indexing.storage import IndexFolder
    from lsr.core import console
    from lsr.core.errors import CheckFailedError

    console.configure(quiet=quiet, json_output=as_json)
    with IndexFolder.open(index) as folder:
        problems = folder.verify()
        n_files = len(folder.manifest.files)
    result = {"path": str(index), "n_files": n_files, "problems": problems}
    if problems:
        raise CheckFailedError(
            f"{index} is damaged: {'; '.join(problems)}.",
            hint="Restore it from a copy or build it again.",
        )
    console.emit(result, lambda: typer.echo(f"OK: {n_files} files of {index} are as written."))


def _show(result: dict[str, Any]) -> None:
    from lsr.core import console

    lines = [
        ("layout", result["layout"]),
        ("documents", f"{result['n_documents']:,}"),
        ("terms a document", f"{result['terms_per_document']:.1f}"),
        ("vocabulary", f"{result['vocabulary_size']:,} · {result['vocabulary_fingerprint'][:12]}"),
        ("encoder", f"{result['encoder']} (idf: {result['idf']})"),
        ("query encoder", "in the folder" if result["has_query_encoder"] else "none"),
        ("stored documents", "yes" if result["has_documents"] else "no"),
        *((f"  {part}", _megabytes(size)) for part, size in result["bytes"].items()),
        ("index", _megabytes(result["index_bytes"])),
        ("whole folder", _megabytes(result["files_bytes"])),
        ("built", f"{result['created']} in {result['build_s']} s"),
    ]
    console.print_table(["", result["path"]], lines)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"
