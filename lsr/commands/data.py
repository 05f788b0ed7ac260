"""``lsr data``: list, get, peek, stats, examples, expand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.commands.expand import expand
from lsr.core.options import (
    IdFieldOption,
    JsonOption,
    OverwriteOption,
    QuietOption,
    SkipBadLinesOption,
    TextFieldOption,
    TitleFieldOption,
)

if TYPE_CHECKING:
    from lsr.core.records import Document
    from lsr.data.base import Dataset

__all__ = ["register"]

DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="A name (lsr data list), a folder, a .jsonl or .tsv file, or an ir_datasets id.",
        show_default=False,
    ),
]
_SHOWN_CHARACTERS = 400


def register(app: typer.Typer) -> None:
    """Mount ``lsr data``."""
    verbs = typer.Typer(
        name="data", help="Find, fetch and look at collections.", no_args_is_help=True
    )
    verbs.command("list")(list_command)
    verbs.command("get")(get)
    verbs.command("peek")(peek)
    verbs.command("stats")(stats)
    verbs.command("examples")(examples)
    verbs.command("expand")(expand)
    app.add_typer(verbs)


def list_command(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the collections known by name: shipped, on this machine, or online.

    Folders of LSR_DATA (a path list) are searched too.

    Example: `LSR_DATA=../shared/data lsr data list`
    """
    from lsr.core import console
    from lsr.data.registry import list_datasets

    console.configure(quiet=quiet, json_output=as_json)
    entries = list_datasets()
    console.emit(
        {"datasets": [entry._asdict() for entry in entries]},
        lambda: console.print_table(["name", "status", "what", "where"], _rows(entries)),
    )


def _rows(entries: list[Any]) -> list[tuple[str, str, str, str]]:
    from lsr.data.catalogue import CATALOGUE

    rows = []
    for entry in entries:
        where = entry.source
        # The address is for programs (--json); people want to know what they are in for.
        if entry.status == "online":
            where = f"{CATALOGUE[entry.name].n_bytes / 1e6:,.0f} MB to fetch"
        rows.append((entry.name, entry.status, entry.about, where))
    return rows


def get(
    name: Annotated[str, typer.Argument(help="A name (lsr data list).", show_default=False)],
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a collection: unpack its archive from LSR_DATA, else download and check it.

    A download that broke off is resumed. Example: `lsr data get scifact`
    """
    from lsr.core import console
    from lsr.data.registry import fetch_dataset

    console.configure(quiet=quiet, json_output=as_json)
    folder = fetch_dataset(name, overwrite=overwrite)
    console.emit({"name": name, "path": str(folder)}, lambda: typer.echo(f"{name}: {folder}"))


def peek(
    dataset: DatasetArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many documents and queries.")] = 3,
    doc_id: Annotated[
        str | None, typer.Option("--doc-id", help="Show this document alone.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of the queries [default: the first there is].")
    ] = None,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the first documents and queries of a collection, or one document.

    Example: `lsr data peek toy -n 2`
    """
    from itertools import islice

    from lsr.core import console
    from lsr.core.errors import DocumentNotFoundError
    from lsr.data.bad_lines import BadLines
    from lsr.data.fields import FieldMap
    from lsr.data.registry import load_dataset

    console.configure(quiet=quiet, json_output=as_json)
    bad = BadLines(skip_bad_lines)
    fields = FieldMap.from_flags(id_field, text_field, title_field)
    source = load_dataset(dataset, fields=fields, bad_lines=bad)
    if doc_id is not None:
        documents = [d for d in source.documents() if d.doc_id == doc_id][:1]
        if not documents:
            raise DocumentNotFoundError(f"{source.name} has no document {doc_id!r}.")
        queries = []
    else:
        documents = list(islice(source.documents(), n))
        queries = _first_queries(source, split, n)
    bad.log()
    result = {
        "name": source.name,
        "documents": [document._asdict() for document in documents],
        "queries": queries,
        "bad_lines": bad.to_json(),
    }
    console.emit(result, lambda: _show_records(documents, queries))


def _first_queries(source: Dataset, split: str | None, n: int) -> list[dict[str, Any]]:
    from itertools import islice

    splits = source.splits()
    if split is None:
        if not splits:
            return []
        split = "test" if "test" in splits else splits[0]
    queries = list(islice(source.queries(split), n))
    relevant: dict[str, list[str]] = {query.query_id: [] for query in queries}
    for qrel in source.qrels(split):
        if qrel.query_id in relevant and qrel.relevance > 0:
            relevant[qrel.query_id].append(qrel.doc_id)
    return [
        {**query._asdict(), "split": split, "relevant": relevant[query.query_id]}
        for query in queries
    ]


def _show_records(documents: list[Document], queries: list[dict[str, Any]]) -> None:
    for document in documents:
        text = document.text
        if len(text) > _SHOWN_CHARACTERS:
            text = text[:_SHOWN_CHARACTERS] + " …"
        typer.secho(f"{document.doc_id}  {document.title}".rstrip(), bold=True)
        typer.echo(f"  {text}")
        for key, value in document.metadata.items():
            typer.echo(f"  {key}: {value}")
        typer.echo("")
    for query in queries:
        shown = ", ".join(query["relevant"][:5])
        more = len(query["relevant"]) - 5
        typer.secho(f"{query['query_id']}  {query['text']}", bold=True)
        typer.echo(
            f"  {query['split']}, relevant: {shown}{f' and {more} more' if more > 0 else ''}"
        )


def stats(
    dataset: DatasetArgument,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a whole collection, check every line, and count what it holds.

    Example: `lsr data stats toy`
    """
    from lsr.core import console
    from lsr.data.bad_lines import BadLines
    from lsr.data.fields import FieldMap
    from lsr.data.registry import load_dataset
    from lsr.data.stats import dataset_stats

    console.configure(quiet=quiet, json_output=as_json)
    bad = BadLines(skip_bad_lines)
    fields = FieldMap.from_flags(id_field, text_field, title_field)
    counts = dataset_stats(load_dataset(dataset, fields=fields, bad_lines=bad))
    bad.log()
    console.emit({**counts, "bad_lines": bad.to_json()}, lambda: _show_stats(counts))


def _show_stats(counts: dict[str, Any]) -> None:
    from lsr.core import console

    words = counts["document_words"]
    shown = "{mean:.1f} (p50 {p50:.0f}, p95 {p95:.0f}, max {max:.0f})".format(**words)
    console.print_table(
        ["", counts["name"]],
        [
            ("documents", f"{counts['n_documents']:,}"),
            ("  without any text", f"{counts['n_empty_documents']:,}"),
            ("  with a title", f"{counts['n_titles']:,}"),
            ("characters", f"{counts['n_characters']:,}"),
            ("words a document", shown),
        ],
    )
    if counts["splits"]:
        console.print_table(
            ["split", "queries", "words a query", "judgements", "relevant", "documents missing"],
            [
                (
                    name,
                    split["n_queries"],
                    split["query_words"]["mean"],
                    split["n_qrels"],
                    split["n_relevant"],
                    split["n_qrels_without_document"],
                )
                for name, split in counts["splits"].items()
            ],
        )


def examples(
    kind: Annotated[
        str,
        typer.Argument(
            help="judgements (of a data set), texts (JSON lines), text-triples, id-triples, "
            "scored-lists, hard-negatives (MS MARCO's files).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; .gz and .zst compress.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The file to read; judgements need none.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The data set whose ids the file names.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="judgements: of this split.")] = "train",
    form: Annotated[
        str,
        typer.Option(
            "--form", help="pairs; examples (with negatives and scores); scores (for a teacher)."
        ),
    ] = "pairs",
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help="hard-negatives: of this system only; may be repeated."),
    ] = None,
    n_negatives: Annotated[
        int | None, typer.Option("--n-negatives", min=1, help="hard-negatives: of each system.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out what the data set does not have.")
    ] = False,
    skip_bad_lines: SkipBadLinesOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn published training data into the JSON lines that `lsr train` reads.

    Example: `lsr data examples judgements --dataset nfcorpus --split train --out pairs.jsonl`
    """
    from lsr.core import console
    from lsr.core.errors import ArtifactExistsError
    from lsr.data.bad_lines import BadLines
    from lsr.data.example_files import open_examples, write_examples
    from lsr.data.registry import load_dataset

    console.configure(quiet=quiet, json_output=as_json)
    if out.exists() and not overwrite:
        raise ArtifactExistsError(f"{out} exists already.", hint="Pass --overwrite to replace it.")
    bad = BadLines(skip_bad_lines)
    found = open_examples(
        kind,
        path=source,
        dataset=None if dataset is None else load_dataset(dataset, bad_lines=bad),
        split=split,
        systems=system,
        n_negatives=n_negatives,
        skip_missing=skip_missing,
        bad=bad,
    )
    counts = write_examples(console.track(found, "Writing", unit="examples"), out, form)
    bad.log()
    console.emit(
        {"path": str(out), **counts, "bad_lines": bad.to_json()},
        lambda: typer.echo(
            f"{counts['n_examples']:,} queries, {counts['n_positives']:,} positives, "
            f"{counts['n_negatives']:,} negatives: {out}"
        ),
    )
