"""``lsr encoder``: what an encoder is, and its form that runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.core.options import JsonOption, QuietOption

__all__ = ["register"]

app = typer.Typer(no_args_is_help=True, help="Look at an encoder, average several, or export one.")

EncoderArgument = Annotated[
    str, typer.Argument(help="A shipped name, a model folder, or a hub id.")
]


def register(root: typer.Typer) -> None:
    """Mount ``lsr encoder``."""
    root.add_typer(app, name="encoder")


@app.command("info")
def info(encoder: EncoderArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Show what an encoder is: its sides, lengths, vocabulary, and where the idf stands.

    Example: `lsr encoder info models/my-splade`
    """
    from lsr.core import console
    from lsr.encoders import Encoder, load_encoder

    console.configure(quiet=quiet, json_output=as_json)
    loaded = load_encoder(encoder)
    sides = {
        "query": getattr(loaded, "query", loaded),
        "document": getattr(loaded, "document", loaded if isinstance(loaded, Encoder) else None),
    }
    report: dict[str, object] = {
        "name": loaded.name,
        "kind": type(loaded).__name__,
        "idf": loaded.idf,
        "vocabulary_size": len(loaded.vocabulary),
        "vocabulary_fingerprint": loaded.vocabulary.fingerprint,
        "fingerprint": loaded.fingerprint,
    }
    for side, part in sides.items():
        report[f"{side}_side"] = type(part).__name__ if part is not None else None
        options = getattr(part, "options", None)
        length = (
            getattr(options, f"{side}_max_length")
            if options is not None
            else getattr(part, "max_length", None)
        )
        report[f"{side}_max_length"] = length
    console.emit(
        report, lambda: console.print_table(["", "value"], [list(i) for i in report.items()])
    )


@app.command("export")
def export(
    encoder: EncoderArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.")],
    weights: Annotated[
        str, typer.Option(help="float32, float16 (half the file), or int8 (a quarter; faster).")
    ] = "int8",
    name: Annotated[str | None, typer.Option(help="How the new encoder is called.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write an encoder that runs without torch: an ONNX graph with its pooling, and its tokenizer.

    Example: `lsr encoder export models/my-splade --weights int8 --out models/my-splade-onnx`
    """
    from lsr.core import console
    from lsr.encoders import load_encoder
    from lsr.encoders.onnx_export import save_light

    console.configure(quiet=quiet, json_output=as_json)
    loaded = load_encoder(encoder, device="cpu", dtype="float32")
    save_light(loaded, out, name=name, weights=weights)
    n_bytes = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    report = {"path": str(out), "name": name or loaded.name, "weights": weights, "bytes": n_bytes}
    console.emit(
        report, lambda: console.print_table(["", "value"], [list(i) for i in report.items()])
    )


@app.command("average")
def average(
    encoders: Annotated[
        list[str], typer.Argument(help="Two or more, trained on from one another.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.")],
    name: Annotated[str | None, typer.Option(help="How the new encoder is called.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the encoder whose weights are the mean of several (a model soup).

    Example: `lsr encoder average runs/first/model runs/second/model --out models/mean`
    """
    from lsr.core import console
    from lsr.encoders import load_encoder
    from lsr.encoders.averaging import average_encoders

    console.configure(quiet=quiet, json_output=as_json)
    loaded = [load_encoder(encoder, device="cpu", dtype="float32") for encoder in encoders]
    made = average_encoders(loaded, name=name)
    made.save(out)
    report = {"path": str(out), "name": made.name, "of": encoders}
    console.emit(
        report, lambda: console.print_table(["", "value"], [list(i) for i in report.items()])
    )
