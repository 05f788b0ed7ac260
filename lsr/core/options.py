"""Command-line options that every verb has, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "ConfigOption",
    "IdFieldOption",
    "JsonOption",
    "OverwriteOption",
    "QuietOption",
    "SetOption",
    "SkipBadLinesOption",
    "TextFieldOption",
    "ThreadsOption",
    "TitleFieldOption",
]

JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON document.")
]
QuietOption: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bars; log only warnings.")
]
OverwriteOption: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace what stands at the output path.")
]
ThreadsOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Worker threads [default: LSR_THREADS, else all cores]."),
]
ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with what differs from the defaults.")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one config key; may be repeated."),
]
SkipBadLinesOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--skip-bad-lines",
        metavar="N",
        min=0,
        help="Skip up to N unusable lines of the input and report them; one more is an error.",
    ),
]
IdFieldOption: TypeAlias = Annotated[
    str, typer.Option("--id-field", help="JSONL: field of the id; a.b reaches into objects.")
]
TextFieldOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--text-field", help="JSONL: field of the text; repeat it to join several."),
]
TitleFieldOption: TypeAlias = Annotated[
    str, typer.Option("--title-field", help="JSONL: field of the title; empty for none.")
]
