"""``lsr index dense``: the dense half of an index, for hybrid search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.core.options import JsonOption, OverwriteOption, QuietOption

if TYPE_CHECKING:
    from indexing.dense_folder import DenseFolder

__all__ = ["dense", "described", "embed"]


def dense(
    index: Annotated[Path, typer.Argument(help="An index folder.", show_default=False)],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="A sentence-transformers folder: the bi-encoder.")
    ],
    kind: Annotated[
        str, typer.Option("--kind", help="flat is exact; hnsw, a graph, is faster on many.")
    ] = "flat",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts encoded together.")] = 32,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add dense vectors of the stored documents to an index, for hybrid search.

    The model is copied into the index. Needs `pip install 'lsr-search[hybrid]'`.

    Example: `lsr index dense scifact.index --model models/all-MiniLM-L6-v2`, then
    `lsr search scifact.index "vitamin D" --hybrid`
    """
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    result = described(embed(index, model, kind=kind, batch_size=batch_size, overwrite=overwrite))
    console.emit(
        result,
        lambda: typer.echo(
            f"{result['n_documents']:,} vectors of {result['width']} numbers ({result['kind']}) by "
            f"{result['encoder']}: {result['path']}"
        ),
    )


def embed(
    index: Path, model: Path, *, kind: str = "flat", batch_size: int = 32, overwrite: bool = False
) -> DenseFolder:
    """Add the dense half to the index at `index`; raises as `add_dense` does."""
    from indexing.dense_encoder import DenseEncoder
    from indexing.dense_folder import add_dense
    from indexing.storage import IndexFolder
    from lsr.core.errors import ArgumentError

    if kind not in ("flat", "hnsw"):
        raise ArgumentError(f"--kind is flat or hnsw, got {kind!r}.")
    with IndexFolder.open(index) as folder:
        return add_dense(
            folder,
            DenseEncoder(model),
            kind="flat" if kind == "flat" else "hnsw",
            batch_size=batch_size,
            overwrite=overwrite,
        )


def described(made: DenseFolder) -> dict[str, Any]:
    """Return what the command tells of a dense half."""
    names = ("encoder", "kind", "width", "n_documents", "build_s")
    return {"path": str(made.path), **{name: made.manifest.details[name] for name in names}}
