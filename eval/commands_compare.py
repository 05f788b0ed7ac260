"""``lsr eval compare`` and ``lsr eval sweep``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.core.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from eval.significance import Comparison, QueryDifference
    from eval.sweep import Sweep
    from indexing.base import SparseIndex
    from indexing.storage import IndexFolder

__all__ = ["compare", "sweep"]


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Files that `lsr eval run --out` wrote; two or more.")
    ],
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="A system's name [default: the first file's].")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", "-m", help="Only this measure; may be repeated."),
    ] = None,
    test: Annotated[
        str, typer.Option("--test", help="The paired test: randomisation or t.")
    ] = "randomisation",
    resamples: Annotated[
        int, typer.Option("--resamples", min=99, help="Of the test and the bootstrap.")
    ] = 9999,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of both.")] = 42,
    queries: Annotated[
        int, typer.Option("--queries", min=0, help="Show so many of the worst and best queries.")
    ] = 3,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare systems query by query: difference, confidence interval, p corrected after Holm.

    Example: `lsr eval compare bm25.json splade.json -m nDCG@10`
    """
    from eval.results import load_results
    from eval.significance import CompareConfig, query_differences
    from eval.significance import compare as compare_results
    from lsr.core import console
    from lsr.core.config import load_config

    console.configure(quiet=quiet, json_output=as_json)
    config = load_config(
        CompareConfig, values={"test": test, "n_resamples": resamples, "seed": seed}
    )
    loaded = [load_results(path) for path in results]
    found = compare_results(loaded, baseline=baseline, measures=tuple(measure or ()), config=config)
    by_name = {(r.label, r.system): r for r in loaded}
    extremes: dict[tuple[str, str], list[QueryDifference]] = {}
    for c in found:
        at = (c.dataset, c.system)
        if queries and at not in extremes:
            rows = query_differences(by_name[at], by_name[c.dataset, c.baseline], c.measure)
            changed = [row for row in rows if row.difference]
            extremes[at] = [*changed[:queries], *changed[queries:][-queries:]]
    document = {
        "config": config.model_dump(mode="json"),
        "comparisons": [c.model_dump(mode="json") for c in found],
        "queries": [
            {
                "dataset": dataset,
                "system": system,
                "differences": [row.model_dump(mode="json") for row in rows],
            }
            for (dataset, system), rows in extremes.items()
        ],
    }
    console.emit(document, lambda: _show_comparisons(found, extremes))


def sweep(
    index: Annotated[Path, typer.Argument(help="The index folder to measure.")],
    dataset: Annotated[str, typer.Argument(help="Whose queries to search with.")],
    exact: Annotated[
        Path, typer.Option("--exact", help="The encoded collection, or an exact index of it.")
    ],
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid", "-g", metavar="NAME=A,B,…", help="Values of one search parameter; repeat."
        ),
    ],
    split: Annotated[
        str,
        typer.Option("--split", help="Which queries; 'all' takes those without judgements too."),
    ] = "test",
    queries: Annotated[
        int, typer.Option("--queries", min=2, help="At most so many, evenly spaced.")
    ] = 1000,
    k: Annotated[int, typer.Option("--k", min=1, help="Depth.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed passes.")] = 5,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the curve here, as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve here, as SVG.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="How the curve is called.")] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the recall–latency curve of an index over a grid of search parameters.

    Example: `lsr eval sweep index/ scifact/ --exact vectors/ -g max_blocks=50,100,200`
    """
    from eval.latency import spread
    from eval.search_params import parse_params
    from eval.sweep import grid_points
    from eval.sweep import sweep as measure_sweep
    from eval.targets import open_target
    from indexing import IndexFolder
    from lsr.core import console
    from lsr.core.artifact import write_text_atomic
    from lsr.data import load_dataset

    console.configure(quiet=quiet, json_output=as_json)
    points = grid_points(parse_grid(grid))
    folder = IndexFolder.open(index)
    for point in points:
        parse_params(folder.layout, point)
    target = open_target(index)
    chosen = spread(list(load_dataset(dataset).queries(split)), queries)
    vectors = target.encoder.encode_queries([query.text for query in chosen])
    found = measure_sweep(
        folder.index,
        _open_exact(exact, folder, threads),
        vectors,
        points,
        parse=lambda point: parse_params(folder.layout, point),
        name=name or target.system,
        layout=folder.layout,
        k=k,
        n_runs=runs,
        n_threads=threads,
        command=shlex.join(["lsr", *sys.argv[1:]]),
    )
    if out is not None:
        write_text_atomic(out, found.model_dump_json(indent=1) + "\n")
    if plot is not None:
        from eval.plots import recall_latency_plot

        write_text_atomic(plot, recall_latency_plot([found]))
    console.emit(found.model_dump(mode="json"), lambda: _show_sweep(found))


def parse_grid(options: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of each parameter; each in TOML syntax, bare words are strings.

    Raises
    ------
    ConfigError
        If an option has no ``=``.
    ArgumentError
        If a parameter stands twice or has no value.
    """
    from lsr.core.config import parse_override
    from lsr.core.errors import ArgumentError

    grid: dict[str, list[Any]] = {}
    for option in options:
        name, _, raw = option.partition("=")
        values = [_number(parse_override(f"{name}={p}")[1]) for p in raw.split(",") if p.strip()]
        if name in grid or not values:
            raise ArgumentError(
                f"--grid {option!r}: give each parameter once, with its values.",
                hint="Example: --grid max_blocks=50,100,200",
            )
        grid[name] = values
    return grid


def _number(value: Any) -> Any:
    """Return a text that spells a number (``.7`` is none in TOML) as the number."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def _open_exact(path: Path, folder: IndexFolder, n_threads: int | None) -> SparseIndex:
    """Return an exact index of the same vectors as `folder`."""
    import json

    from indexing.exact import ExactIndex
    from indexing.storage import IndexFolder
    from lsr.core.artifact import MANIFEST_NAME
    from lsr.core.errors import ArgumentError
    from lsr.data import open_vectors

    try:
        kind = json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError):
        kind = None
    if kind == "vectors":
        vectors = open_vectors(path)
        folder.vocabulary.require_same(
            vectors.vocabulary.fingerprint, mine=f"The index {folder.path}", theirs=str(path)
        )
        return ExactIndex.from_matrix(vectors.matrix(), n_threads=n_threads)
    opened = IndexFolder.open(path)
    if opened.layout != "exact":
        raise ArgumentError(
            f"--exact {path} is an index of layout {opened.layout!r}.",
            hint="Pass the encoded collection, or build one with --set layout.kind=exact.",
        )
    folder.vocabulary.require_same(
        opened.vocabulary.fingerprint, mine=f"The index {folder.path}", theirs=str(path)
    )
    return opened.index


def _show_comparisons(
    found: Sequence[Comparison], extremes: dict[tuple[str, str], list[QueryDifference]]
) -> None:
    from lsr.core import console

    for dataset, system, baseline in dict.fromkeys(
        (c.dataset, c.system, c.baseline) for c in found
    ):
        console.print_table(
            ["measure", "score", "baseline", "Δ", "95 %", "p (Holm)", "+/=/−"],
            [
                [
                    c.measure,
                    c.score,
                    c.baseline_score,
                    f"{c.difference:+.4f}",
                    f"{c.low:+.3f}…{c.high:+.3f}",
                    c.p_holm,
                    f"{c.wins}/{c.ties}/{c.losses}",
                ]
                for c in found
                if (c.dataset, c.system, c.baseline) == (dataset, system, baseline)
            ],
            title=f"{dataset}: {system} against {baseline}",
        )
    for (dataset, system), rows in extremes.items():
        for row in rows:
            typer.echo(
                f"{dataset} {system} query {row.query_id}: {row.baseline_score:.4f} → "
                f"{row.score:.4f} ({row.difference:+.4f})"
            )


def _show_sweep(found: Sweep) -> None:
    from lsr.core import console

    points = [*found.points, found.exact]
    console.print_table(
        ["setting", f"recall@{found.k}", "µs mean", "µs p99", "front"],
        [
            [
                " ".join(f"{k}={v}" for k, v in p.params.items()) or "exact search",
                f"{p.recall:.4f}",
                f"{p.latency.mean_us:,.0f}",
                f"{p.latency.p99_us:,.0f}",
                "●" if p.pareto else "",
            ]
            for p in points
        ],
    )
