"""``lsr eval report`` and ``lsr eval reproduce``: whole suites."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.core.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from eval.reproduce import Check
    from eval.running import Runner
    from eval.suite import Suite

__all__ = ["report", "reproduce"]

CollectionOption = Annotated[
    list[str] | None,
    typer.Option("--collection", "-c", help="Only this collection; may be repeated."),
]
SystemOption = Annotated[
    list[str] | None, typer.Option("--system", "-s", help="Only this system; may be repeated.")
]
ModelsOption = Annotated[
    Path | None, typer.Option("--models", help="A folder with the folders of the models.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Vectors, indexes and runs [default: LSR_HOME/eval]."),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Search and time anew.")]


def reproduce(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name, or a TOML file.")],
    collection: CollectionOption = None,
    system: SystemOption = None,
    models: ModelsOption = None,
    cache: CacheOption = None,
    fresh: FreshOption = False,
    require_all: Annotated[
        bool, typer.Option("--require-all", help="Count what cannot be run here as a failure.")
    ] = False,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a suite's expected figures: OK, close or FAIL.

    Exit code 1 if one fails, 3 if none can be checked here.

    Example: `LSR_DATA=../shared/data lsr eval reproduce trec-runs`
    """
    from eval.agreement import check_agreements
    from eval.reproduce import check_suite
    from eval.running import run_suite
    from lsr.core import console
    from lsr.core.errors import ArgumentError, CheckFailedError, DatasetNotFoundError

    console.configure(quiet=quiet, json_output=as_json)
    chosen = cut_suite(suite, collection, system)
    figures = [(e.collection, e.system) for e in chosen.expected]
    pairs = [(a.collection, name) for a in chosen.agreements for name in (a.system, a.other)]
    if not figures and not pairs:
        raise ArgumentError(f"The suite {chosen.name!r} expects no figure of what was chosen.")
    # Only what a figure is expected of is run.
    needed = list(dict.fromkeys([*figures, *pairs]))
    chosen = chosen.only(tuple(c for c, _ in needed), tuple(s for _, s in needed))
    runner = make_runner(chosen, suite, models, cache, fresh=fresh, timing=False, threads=threads)
    results, skipped = run_suite(runner, wanted=set(figures))
    checks = [*check_suite(chosen, results, skipped), *check_agreements(runner)]
    bad = [c for c in checks if c.verdict == "FAIL" or (require_all and c.verdict == "skipped")]
    document = {
        "suite": chosen.name,
        "ok": not bad,
        "checks": [check.model_dump(mode="json") for check in checks],
    }
    console.emit(document, lambda: _show(checks))
    if all(check.verdict == "skipped" for check in checks):
        raise DatasetNotFoundError(
            f"None of the {len(checks)} figures of {chosen.name!r} can be checked here: "
            f"{checks[0].reason}",
            hint="Name the folders of your collections in LSR_DATA, of your models in --models.",
        )
    if bad:
        raise CheckFailedError(
            f"{len(bad)} of {len(checks)} figures of {chosen.name!r} were not reproduced.",
            hint="See the lines marked FAIL" + (" and skipped." if require_all else "."),
        )


def report(
    suite: Annotated[
        str | None,
        typer.Argument(help="A shipped suite's name, or a TOML file. Left out: --results."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A folder for the report and its data.")
    ] = Path("report"),
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Files of `lsr eval run --out`, instead of a suite."),
    ] = None,
    collection: CollectionOption = None,
    system: SystemOption = None,
    measure: Annotated[
        str, typer.Option("--measure", "-m", help="What the overview compares.")
    ] = "nDCG@10",
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="A system [default: the suite's].")
    ] = None,
    explain: Annotated[
        list[str] | None,
        typer.Option("--explain", help="Explain this sparse system's queries; may be repeated."),
    ] = None,
    sweep: Annotated[
        list[Path] | None,
        typer.Option("--sweep", help="A curve of `lsr eval sweep --out`; may be repeated."),
    ] = None,
    models: ModelsOption = None,
    cache: CacheOption = None,
    fresh: FreshOption = False,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Measure latency, throughput, memory.")
    ] = True,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a suite, or read results, and write one report: HTML, Markdown, JSON.

    Example: `lsr eval report local --models models/ --out report/ --explain lexical`
    """
    from eval.reporting import collect_results, collect_suite, write_report
    from lsr.core import console
    from lsr.core.errors import ArgumentError

    console.configure(quiet=quiet, json_output=as_json)
    if (suite is None) == (not results):
        raise ArgumentError(
            "Say what to report: a suite, or --results files.",
            hint="Example: lsr eval report local",
        )
    if suite is not None:
        chosen = cut_suite(suite, collection, system)
        runner = make_runner(
            chosen, suite, models, cache, fresh=fresh, timing=timing, threads=threads
        )
        parts = collect_suite(
            runner,
            measure=measure,
            baseline=baseline,
            explain=tuple(explain or ()),
            command=shlex.join(["lsr", *sys.argv[1:]]),
        )
    else:
        parts = collect_results(tuple(results or ()), measure=measure, baseline=baseline)
    files = write_report(parts, out, sweeps=tuple(sweep or ()))
    document = {
        "files": [str(file) for file in files],
        "n_results": len(parts.results),
        "skipped": [f"{s.system} on {s.collection}: {s.reason}" for s in parts.skipped],
        "checks": [check.model_dump(mode="json") for check in parts.checks],
    }
    console.emit(document, lambda: typer.echo("\n".join(map(str, files))))


def cut_suite(name: str, collections: list[str] | None, systems: list[str] | None) -> Suite:
    """Return a suite, cut down to the collections and systems asked for."""
    from eval.suite import load_suite

    suite = load_suite(name)
    if collections or systems:
        suite = suite.only(tuple(collections or ()), tuple(systems or ()))
    return suite


def make_runner(
    suite: Suite,
    name: str,
    models: Path | None,
    cache: Path | None,
    *,
    fresh: bool,
    timing: bool,
    threads: int | None,
) -> Runner:
    """Return the runner of a suite, called `name` on the command line, with its places."""
    from eval.running import Runner
    from eval.workbench import BenchOptions
    from lsr.core.settings import get_settings

    options = BenchOptions(
        cache=cache or get_settings().home / "eval",
        models=models,
        fresh=fresh,
        timing=timing,
        n_threads=threads,
    )
    # Of a single figure; where its vectors are kept is no part of it.
    places = ["--models", str(models)] if models else []
    return Runner(suite, options, command=shlex.join(["lsr", "eval", "report", name, *places]))


def _show(checks: list[Check]) -> None:
    from lsr.core import console

    console.print_table(
        ["collection", "system", "measure", "expected", "found", "verdict"],
        [
            [
                c.collection,
                c.system,
                c.measure,
                f"{c.expected:.4f}",
                "" if c.found is None else f"{c.found:.4f}",
                c.verdict,
            ]
            for c in checks
        ],
    )
    for check in checks:
        if check.reason:
            typer.echo(f"{check.collection}, {check.system}: {check.reason}", err=True)
