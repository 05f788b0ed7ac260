"""``lsr data expand``: texts with the terms they lack written behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.core.options import JsonOption, OverwriteOption, QuietOption, SkipBadLinesOption

if TYPE_CHECKING:
    from lsr.data.bad_lines import BadLines

__all__ = ["expand"]

_WINDOW = 512


def expand(
    file: Annotated[Path, typer.Argument(help="JSONL: a corpus, or training pairs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new JSONL file.")],
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="Its document side's heaviest new terms are taken."),
    ] = None,
    terms_file: Annotated[
        Path | None,
        typer.Option("--from", help='JSONL of {"_id", "terms": [...]} that another model wrote.'),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The field that is expanded: text, or positive of training pairs.")
    ] = "text",
    terms: Annotated[int, typer.Option(min=1, help="At most so many terms a text.")] = 20,
    skip_bad_lines: SkipBadLinesOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Append expansion terms to texts, for encoders that weigh only what stands in a text.

    Everything else of a line stays as it is. Train uniCOIL on expanded pairs and index an
    expanded corpus.

    Example: `lsr data expand corpus.jsonl --encoder lsr-mini --terms 20 --out expanded.jsonl`
    """
    from lsr.core import console
    from lsr.core.errors import ArgumentError, ArtifactExistsError
    from lsr.core.files import create_text
    from lsr.data.bad_lines import BadLines
    from lsr.data.jsonl import count_lines
    from lsr.encoders.expansion import append_terms

    console.configure(quiet=quiet, json_output=as_json)
    if out.exists() and not overwrite:
        raise ArtifactExistsError(f"{out} exists.", hint="Pass --overwrite to replace it.")
    bad = BadLines(skip_bad_lines)
    records = _records(file, field, bad)
    pairs: Iterator[tuple[dict[str, Any], list[str]]]
    if encoder is not None and terms_file is None:
        pairs = _by_encoder(records, encoder, field, terms)
    elif terms_file is not None and encoder is None:
        pairs = _by_file(records, _read_terms(terms_file, bad), terms)
    else:
        raise ArgumentError("Give either --encoder or --from: where the terms come from.")
    n_records = n_terms = n_plain = 0
    with (
        create_text(out) as stream,
        console.progress_bar("Expanding", count_lines(file), unit="texts") as advance,
    ):
        for record, added in pairs:
            record[field] = append_terms(record[field], added)
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            n_records += 1
            n_terms += len(added)
            n_plain += not added
            advance(1)
    bad.log()
    report = {
        "path": str(out),
        "n_texts": n_records,
        "terms_per_text": n_terms / max(1, n_records),
        "n_texts_without_terms": n_plain,
        "bad_lines": bad.to_json(),
    }
    shown = [[key, value] for key, value in report.items() if key != "bad_lines"]
    console.emit(report, lambda: console.print_table(["", "value"], shown))


def _records(file: Path, field: str, bad: BadLines) -> Iterator[dict[str, Any]]:
    from lsr.core.errors import DataError
    from lsr.data.bad_lines import read_records
    from lsr.data.fields import parse_object

    def parse(line: str) -> dict[str, Any]:
        record = parse_object(line)
        if not isinstance(record.get(field), str):
            raise DataError(
                f"No text in the field {field!r}; the line has {', '.join(record) or 'nothing'}.",
                hint="Name the field of the text with --field.",
            )
        return record

    return read_records(file, parse, bad)


def _by_encoder(
    records: Iterable[dict[str, Any]], name: str, field: str, n_terms: int
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    from lsr.core.errors import EncoderError
    from lsr.encoders import Encoder, load_encoder
    from lsr.encoders.expansion import expansion_terms

    encoder = load_encoder(name)
    if not isinstance(encoder, Encoder):
        raise EncoderError(f"{name!r} has a query side only; expansion encodes documents.")
    stream = iter(records)
    while window := list(islice(stream, _WINDOW)):
        added = expansion_terms(encoder, [record[field] for record in window], n_terms)
        yield from zip(window, added, strict=True)


def _by_file(
    records: Iterable[dict[str, Any]], known: dict[str, list[str]], n_terms: int
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    for record in records:
        yield record, known.get(str(record.get("_id", "")), [])[:n_terms]


def _read_terms(file: Path, bad: BadLines) -> dict[str, list[str]]:
    from lsr.core.errors import DataError
    from lsr.data.bad_lines import read_records
    from lsr.data.fields import parse_object

    def parse(line: str) -> tuple[str, list[str]]:
        record = parse_object(line)
        terms = record.get("terms")
        if (
            "_id" not in record
            or not isinstance(terms, list)
            or not all(isinstance(term, str) for term in terms)
        ):
            raise DataError('Expected {"_id": ..., "terms": ["...", ...]}.')
        return str(record["_id"]), terms

    return dict(read_records(file, parse, bad))
