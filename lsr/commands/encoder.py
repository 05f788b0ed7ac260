"""``lsr encoder``: what an encoder is, and other encoders made of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.core.options import (
    IdFieldOption,
    JsonOption,
    QuietOption,
    SkipBadLinesOption,
    TextFieldOption,
    TitleFieldOption,
)

if TYPE_CHECKING:
    from lsr.data.bad_lines import BadLines
    from lsr.data.fields import FieldMap

__all__ = ["register"]

_log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, help="Look at encoders, and make others of them.")

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
    from lsr.encoders.limits import text_limits
    from lsr.encoders.parts import document_part, query_part

    console.configure(quiet=quiet, json_output=as_json)
    loaded = load_encoder(encoder)
    limits = text_limits(loaded)
    report: dict[str, object] = {
        "name": loaded.name,
        "kind": type(loaded).__name__,
        "idf": loaded.idf,
        "vocabulary_size": len(loaded.vocabulary),
        "vocabulary_fingerprint": loaded.vocabulary.fingerprint,
        "fingerprint": loaded.fingerprint,
    }
    report["query_side"] = type(query_part(loaded)).__name__
    report["query_max_length"] = limits.query_tokens
    both = isinstance(loaded, Encoder)
    report["document_side"] = type(document_part(loaded)).__name__ if both else None
    report["document_max_length"] = limits.document_tokens
    report |= _channel(loaded)
    console.emit(
        report, lambda: console.print_table(["", "value"], [list(i) for i in report.items()])
    )


def _channel(encoder: object) -> dict[str, object]:
    """Return what a lexical channel adds to the report: nothing where there is none."""
    from lsr.encoders.lexical_channel import LexicalChannelQuery

    whole = getattr(encoder, "encoder", encoder)
    if not isinstance(whole, LexicalChannelQuery):
        return {}
    config = whole.lexical.config
    return {
        "learned_terms": len(whole.learned.vocabulary),
        "lexical_terms": len(whole.lexical.vocabulary) - config.buckets,
        "lexical_buckets": config.buckets,
        "lexical_weight": whole.weight,
        "k1": config.k1,
        "b": config.b,
        "mean_length": whole.lexical.mean_length,
        "max_terms": getattr(whole, "max_terms", None),
    }


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


_FITTING = ("exclude", "terms", "buckets", "k1", "b", "mean_length")


@app.command("add-lexical")
def add_lexical(
    context: typer.Context,
    encoder: EncoderArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.")],
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="Fit on the texts of this data set, folder or file; may be repeated."),
    ] = None,
    pairs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Fit on the passages of these training pairs, each once; may be repeated."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out the pairs of this source.")
    ] = None,
    lexical: Annotated[
        Path | None,
        typer.Option(help="Take the fitted lexical encoder in this folder, as it is."),
    ] = None,
    weight: Annotated[float, typer.Option(help="What BM25 counts beside the learned score.")] = 0.5,
    terms: Annotated[
        int,
        typer.Option(
            min=1,
            help="Keep the most frequent stems. With BERT's word pieces and the buckets the "
            "default makes 65,536 terms: two bytes each in an index.",
        ),
    ] = 27014,
    buckets: Annotated[
        int, typer.Option(min=0, help="Terms that the rarer words share; 0 drops these words.")
    ] = 8000,
    k1: Annotated[float, typer.Option(min=0, help="When repeated words saturate.")] = 1.2,
    b: Annotated[float, typer.Option(min=0, max=1, help="How much length counts.")] = 0.75,
    mean_length: Annotated[
        float | None,
        typer.Option(help="Words of a usual document [default: the mean of the fitted texts]."),
    ] = None,
    max_terms: Annotated[
        int | None,
        typer.Option(min=1, help="Keep at most so many terms a document: largest impact first."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="How the new encoder is called.")] = None,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put BM25 beside an encoder, in the same vectors: rare words are found as they are written.

    The channel knows the words of the texts it is fitted on; the encoder stays as it is, but for a
    channel it had, which is replaced.

    Example: `lsr encoder add-lexical lsr-mini --corpus corpus.jsonl --out models/mini-lexical`
    """
    from lsr.core import console
    from lsr.core.config import load_config
    from lsr.core.errors import ArgumentError, ArtifactExistsError, EncoderError
    from lsr.data import BadLines, FieldMap
    from lsr.encoders import Encoder, LexicalConfig, LexicalEncoder, load_encoder
    from lsr.encoders.lexical_channel import LexicalChannelEncoder, add_lexical

    console.configure(quiet=quiet, json_output=as_json)
    values = {
        "k1": k1, "b": b, "max_terms": terms, "buckets": buckets, "mean_length": mean_length,
    }  # fmt: skip
    config = load_config(LexicalConfig, values=values)
    if bool(corpus or pairs) == (lexical is not None):
        raise ArgumentError(
            "Give --corpus or --pairs, texts to fit the channel on, or else --lexical, a fitted one."
        )
    sources = {name: context.get_parameter_source(name) for name in _FITTING}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if lexical is not None and given:
        option = given[0].replace("_", "-")
        raise ArgumentError(f"--{option} is for fitting; what --lexical names is fitted already.")
    if out.exists():
        raise ArtifactExistsError(f"{out} exists already.", hint="Choose another path.")
    learned = load_encoder(encoder, device="cpu", dtype="float32")
    if not isinstance(learned, Encoder):
        raise EncoderError(f"{encoder!r} has a query side only; pass the whole encoder.")
    if isinstance(learned, LexicalChannelEncoder):
        _log.info("The channel that %s has is replaced", learned.name)
        name = name or learned.name
        learned = learned.learned
    bad = BadLines(skip_bad_lines)
    n_texts = 0
    if lexical is not None:
        fitted = load_encoder(lexical)
        if not isinstance(fitted, LexicalEncoder):
            raise EncoderError(f"{lexical} holds no lexical encoder but {fitted.name!r}.")
        made = LexicalChannelEncoder(learned, fitted, weight=weight, max_terms=max_terms, name=name)
    else:
        fields = FieldMap.from_flags(id_field, text_field, title_field)
        with console.progress_bar("Fitting", None, unit="texts") as advance:

            def count(n: int) -> None:
                nonlocal n_texts
                n_texts += n
                advance(n)

            made = add_lexical(
                learned,
                _texts(corpus or [], pairs or [], exclude or [], fields, bad),
                weight=weight,
                max_terms=max_terms,
                config=config,
                name=name,
                advance=count,
            )
    made.save(out)
    bad.log()
    report = {
        "path": str(out),
        "name": made.name,
        "n_texts": n_texts,
        "vocabulary_size": len(made.vocabulary),
        **_channel(made),
        "n_bad_lines_skipped": bad.n_skipped,
    }
    console.emit(
        report, lambda: console.print_table(["", "value"], [list(i) for i in report.items()])
    )


def _texts(
    corpora: list[str], pairs: list[Path], exclude: list[str], fields: FieldMap, bad: BadLines
) -> Iterator[str]:
    from lsr.data import load_dataset
    from lsr.data.pairs import read_pairs
    from lsr.data.seen import SeenIds

    for corpus in corpora:
        for document in load_dataset(corpus, fields=fields, bad_lines=bad).documents():
            yield document.content
    seen = SeenIds()
    for pair in read_pairs(pairs, exclude=exclude, bad=bad) if pairs else ():
        if seen.add(pair.positive):  # a passage may answer several queries
            yield pair.positive
