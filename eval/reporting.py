"""From a suite, or from files of results, to a report on disk."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eval.agreement import check_agreements
from eval.explanations import ExplainedQuery, explain_extremes
from eval.figures import draw_figures
from eval.html import ReportParts, html_report
from eval.report import markdown_report
from eval.reproduce import check_suite
from eval.results import Results, load_results
from eval.running import Runner, run_suite
from eval.significance import Comparison, compare
from eval.summary import overview
from eval.sweep import Sweep
from lsr.core.artifact import write_bytes_atomic, write_text_atomic
from lsr.core.errors import ArgumentError, ArtifactFormatError, DataError, near_names

__all__ = ["collect_results", "collect_suite", "load_sweep", "write_report"]

logger = logging.getLogger(__name__)


def collect_suite(
    runner: Runner,
    *,
    measure: str = "nDCG@10",
    baseline: str | None = None,
    explain: Sequence[str] = (),
    command: str = "",
) -> ReportParts:
    """Run a suite and return what its report is made of.

    Parameters
    ----------
    runner : Runner
        With the suite.
    measure : str
        What the overview compares.
    baseline : str, optional
        The suite's, or its first system, otherwise.
    explain : sequence of str
        Sparse systems whose worst and best queries are explained.
    command : str
        What makes the whole report.

    Raises
    ------
    ArgumentError
        If nothing of the suite can be run here.
    """
    suite = runner.suite
    results, skipped = run_suite(runner)
    if not results:
        reasons = "; ".join(dict.fromkeys(s.reason for s in skipped))
        raise ArgumentError(f"Nothing of the suite {suite.name!r} can be run here: {reasons}")
    chosen = _baseline(results, baseline, usual=suite.baseline)
    by_name = {(r.label, r.system): r for r in results}
    explained: dict[tuple[str, str], list[ExplainedQuery]] = {}
    for name in explain:
        for collection in suite.collections:
            mine, theirs = (by_name.get((collection.name, s)) for s in (name, chosen))
            if mine is None or theirs is None or measure not in mine.measures:
                continue
            logger.info("Explaining %s on %s", name, collection.name)
            explained[collection.name, name] = explain_extremes(
                runner, collection.name, name, mine, theirs, measure
            )
    return ReportParts(
        title=f"Evaluation: {suite.name}",
        about=suite.about,
        command=command,
        results=results,
        measure=measure,
        baseline=chosen,
        comparisons=_compare(results, chosen),
        checks=[*check_suite(suite, results, skipped), *check_agreements(runner)],
        skipped=skipped,
        explained=explained,
        groups={c.name: c.group for c in suite.collections if c.group},
        about_collections={c.name: c.about for c in suite.collections if c.about},
    )


def collect_results(
    files: Sequence[Path], *, measure: str = "nDCG@10", baseline: str | None = None
) -> ReportParts:
    """Read results and return what their report is made of.

    Raises
    ------
    ArtifactError
        If a file does not hold results.
    """
    results = [load_results(path) for path in files]
    chosen = _baseline(results, baseline)
    return ReportParts(
        title="Evaluation",
        results=results,
        measure=measure,
        baseline=chosen,
        comparisons=_compare(results, chosen),
    )


def write_report(
    parts: ReportParts, folder: Path, *, sweeps: Sequence[Path] = ()
) -> tuple[Path, ...]:
    """Write the report into a folder and return the paths of its files.

    ``report.html`` needs nothing else; ``report.md`` needs the ``.svg`` beside it; ``results.json``
    has all but the values of single queries, which stand in ``per-query.json.gz``.

    Raises
    ------
    MissingDependencyError
        If jinja2 or matplotlib is not installed.
    """
    parts = replace(parts, sweeps=tuple(load_sweep(path) for path in sweeps))
    table = overview(
        parts.results,
        parts.comparisons,
        measure=parts.measure,
        baseline=parts.baseline,
        groups=parts.groups,
    )
    figures = draw_figures(
        parts.results,
        measure=parts.measure,
        baseline=parts.baseline,
        comparisons=parts.comparisons,
        config=parts.compare_config,
        sweeps=parts.sweeps,
    )
    texts = {
        "report.html": html_report(parts, figures),
        "report.md": markdown_report(
            parts.results,
            title=parts.title,
            about=parts.about,
            table=table,
            checks=parts.checks,
            skipped=parts.skipped,
            figures=figures,
            command=parts.command,
        ),
        "results.json": _json(_document(parts), indent=1),
        **{f"{figure.name}.svg": figure.svg + "\n" for figure in figures},
    }
    for name, text in texts.items():
        write_text_atomic(folder / name, text)
    # Ten thousand queries by a dozen systems: compressed, and apart from what a person reads.
    packed = gzip.compress(_json(_per_query(parts.results)).encode(), mtime=0)
    write_bytes_atomic(folder / "per-query.json.gz", packed)
    return tuple(folder / name for name in (*texts, "per-query.json.gz"))


def _document(parts: ReportParts) -> dict[str, Any]:
    return {
        "title": parts.title,
        "command": parts.command,
        "baseline": parts.baseline,
        "results": [
            {name: value for name, value in result.to_json().items() if name != "per_query"}
            for result in parts.results
        ],
        "comparisons": [c.model_dump(mode="json") for c in parts.comparisons],
        "checks": [c.model_dump(mode="json") for c in parts.checks],
        "sweeps": [s.model_dump(mode="json") for s in parts.sweeps],
        "skipped": [vars(s) for s in parts.skipped],
    }


def _per_query(results: Sequence[Results]) -> dict[str, Any]:
    """Return collection to query ids, and to one list of values by system and measure."""
    found: dict[str, Any] = {}
    for result in results:
        query_ids = list(next(iter(result.per_query.values()), {}))
        entry = found.setdefault(result.label, {"query_ids": query_ids, "systems": {}})
        entry["systems"][result.system] = {
            measure: [values[query_id] for query_id in entry["query_ids"]]
            for measure, values in result.per_query.items()
        }
    return found


def _json(document: dict[str, Any], *, indent: int | None = None) -> str:
    return json.dumps(document, ensure_ascii=False, indent=indent) + "\n"


def load_sweep(path: Path) -> Sweep:
    """Return the curve that ``lsr eval sweep --out`` wrote.

    Raises
    ------
    ArtifactFormatError
        If the file holds something else.
    """
    try:
        return Sweep.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"No file at {path}.", hint="Check the path.") from None
    except ValidationError as error:
        raise ArtifactFormatError(
            f"{path} holds no curve of `lsr eval sweep`: {error.error_count()} problems."
        ) from error


def _baseline(results: Sequence[Results], asked: str | None, *, usual: str = "") -> str:
    systems = list(dict.fromkeys(r.system for r in results))
    if asked is not None and asked not in systems:
        raise ArgumentError(
            f"The baseline {asked!r} is not among the results: {', '.join(systems)}."
            f"{near_names(asked, systems)}"
        )
    chosen = asked or usual or systems[0]
    if chosen not in systems:
        # The suite's own baseline may be what cannot run here, such as Lucene without Java.
        logger.warning("The baseline %r was not run; comparing with %r.", chosen, systems[0])
        return systems[0]
    return chosen


def _compare(results: Sequence[Results], baseline: str) -> list[Comparison]:
    found: list[Comparison] = []
    for label in dict.fromkeys(r.label for r in results):
        group = [r for r in results if r.label == label]
        if len(group) > 1 and baseline in (r.system for r in group):
            found += compare(group, baseline=baseline)
    return found
