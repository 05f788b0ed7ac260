"""``lsr eval``: run, compare, sweep, report, reproduce."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.core.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from eval.evaluate import EvalConfig, SearchTarget
    from eval.results import Results
    from eval.topics import Topics
    from lsr.data.base import Dataset

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Mount ``lsr eval``."""
    verbs = typer.Typer(
        name="eval",
        help="Measure quality, cost and significance; report; reproduce.",
        no_args_is_help=True,
    )
    from eval.commands_compare import compare, sweep
    from eval.commands_suite import report, reproduce

    verbs.command("run")(run)
    verbs.command("compare")(compare)
    verbs.command("sweep")(sweep)
    verbs.command("report")(report)
    verbs.command("reproduce")(reproduce)
    app.add_typer(verbs)


def run(
    dataset: Annotated[
        str | None,
        typer.Argument(help="A dataset's name or folder. Left out: --run-file and --qrels."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="An index folder to search.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="'lexical', a model folder or a hub id. Alone: encodes the collection and "
            "searches it exactly. With --index: encodes the queries [default: the index's own].",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=VALUE", help="A search parameter of the index's layout."
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option("--recall", min=0, max=1, help="Search as tuned for this recall."),
    ] = None,
    run_file: Annotated[
        Path | None, typer.Option("--run-file", help="Score this TREC run; nothing is searched.")
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option("--qrels", help="Judge by this TREC qrels file instead.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which queries and judgements.")] = "test",
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", "-m", help="In the ir-measures grammar; may be repeated."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Depth of the search.")] = 1000,
    drop_self: Annotated[
        bool | None,
        typer.Option(
            "--drop-self/--keep-self",
            help="Drop results with the query's own id [default: for ArguAna only].",
        ),
    ] = None,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Measure latency, throughput, memory.")
    ] = True,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Texts a batch: speed, not the result.")
    ] = 32,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the results here, as JSON.")
    ] = None,
    save_run: Annotated[
        Path | None, typer.Option("--run", help="Write the ranking here, as a TREC run.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write a Markdown report here.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="How the results call the system.")
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Evaluate an index, an encoder, or a run file on a collection.

    Examples: `lsr eval run scifact/ --encoder lexical` ·
    `lsr eval run scifact/ --index index/ --out results.json --run run.trec` ·
    `lsr eval run --run-file run.trec --qrels qrels.trec -m nDCG@10`
    """
    from eval.evaluate import EvalConfig, evaluate_run, evaluate_target
    from eval.measures import measures_for, parse_measures
    from eval.report import markdown_report
    from eval.runs import RunTable
    from lsr.core import console
    from lsr.core.artifact import write_text_atomic
    from lsr.core.errors import ArgumentError

    console.configure(quiet=quiet, json_output=as_json)
    if (run_file is None) == (index is None and encoder is None):
        raise ArgumentError(
            "Say what to evaluate: --index, --encoder (or both), or --run-file alone.",
            hint="Example: lsr eval run scifact/ --encoder lexical",
        )
    if index is None and (param or recall is not None):
        raise ArgumentError("--param and --recall are about an index: pass --index too.")
    config = EvalConfig(
        split=split,
        measures=tuple(measure or ()),
        k=k,
        drop_self=drop_self,
        timing=timing and run_file is None,
    )
    data = _dataset(dataset)
    topics = _topics(data, qrels, config)
    # A typo in a measure should not cost an hour of encoding.
    parse_measures(config.measures or measures_for(topics.dataset, topics.split))
    command = shlex.join(["lsr", *sys.argv[1:]])
    if run_file is not None:
        table = RunTable.load(run_file)
        results = evaluate_run(table, topics, config, system=name or run_file.name, command=command)
    else:
        if index is not None:
            target = _open_index(data, index, encoder, name, param or [], recall)
        else:
            target = _encode(data, str(encoder), name, batch_size=batch_size, threads=threads)
        results, table = evaluate_target(
            target, topics, config, batch_size=batch_size, n_threads=threads, command=command
        )
    if out is not None:
        results.save(out)
    if save_run is not None:
        table.save(save_run, tag="".join(results.system.split()))
    if markdown is not None:
        write_text_atomic(markdown, markdown_report([results]))
    console.emit(results.to_json(), lambda: _show(results))


def _dataset(name: str | None) -> Dataset | None:
    from lsr.data import load_dataset

    return None if name is None else load_dataset(name)


def _topics(data: Dataset | None, qrels: Path | None, config: EvalConfig) -> Topics:
    from eval.measures import group_qrels
    from eval.topics import Topics, load_topics
    from lsr.core.errors import ArgumentError
    from lsr.core.trec import read_qrels

    if qrels is None:
        if data is None:
            raise ArgumentError("Without a dataset --qrels must name the judgements.")
        return load_topics(data, config.split)
    judged = group_qrels(read_qrels(qrels))
    if data is None:
        return Topics(qrels.name, "test", [], [], judged)
    queries = [query for query in data.queries("all") if query.query_id in judged]
    return Topics(
        data.name, config.split, [q.query_id for q in queries], [q.text for q in queries], judged
    )


def _require(data: Dataset | None) -> Dataset:
    from lsr.core.errors import ArgumentError

    if data is None:
        raise ArgumentError("Searching needs a dataset for its queries: lsr eval run DATASET …")
    return data


def _open_index(
    data: Dataset | None,
    index: Path,
    encoder: str | None,
    name: str | None,
    param: list[str],
    recall: float | None,
) -> SearchTarget:
    from eval.targets import open_target
    from lsr.core.config import parse_override

    _require(data)
    values = {".".join(path): value for path, value in map(parse_override, param)}
    return open_target(index, encoder=encoder, system=name, params=values, target_recall=recall)


def _encode(
    data: Dataset | None,
    encoder: str,
    name: str | None,
    *,
    batch_size: int,
    threads: int | None,
) -> SearchTarget:
    from eval.evaluate import encode_target
    from lsr.core import console
    from lsr.encoders import prepare_encoder

    corpus = _require(data)
    total = corpus.n_documents()
    model = prepare_encoder(
        encoder,
        lambda: (
            d.content for d in console.track(corpus.documents(), "Fitting", total, unit="documents")
        ),
    )
    with console.progress_bar("Encoding", total, unit="documents") as advance:
        return encode_target(
            model,
            corpus,
            system=name,
            batch_size=batch_size,
            n_threads=threads,
            advance=advance,
        )


def _show(results: Results) -> None:
    from eval.report import COST_COLUMNS, cost_cells
    from lsr.core import console

    rows = [[name, f"{value:.4f}"] for name, value in results.measures.items()]
    costs = zip(COST_COLUMNS, cost_cells(results), strict=True)
    rows += [[label, shown] for label, shown in costs if shown]
    typer.echo(f"{results.system} on {results.label}: {results.n_queries:,} judged queries")
    console.print_table(["", "value"], rows)
    for note in results.notes:
        typer.echo(f"note: {note}", err=True)
