"""Results as one HTML file that needs nothing else: tables, plots, explained queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from eval.explanations import ExplainedQuery
from eval.figures import Figure
from eval.report import COST_COLUMNS, cost_cells, machine_line, row_notes
from eval.reproduce import Check
from eval.results import Results
from eval.running import Skipped
from eval.significance import CompareConfig, Comparison
from eval.summary import Cell, overview, significance_marks
from eval.sweep import Sweep
from lsr.core.errors import MissingDependencyError

__all__ = ["ReportParts", "html_report"]


@dataclass(frozen=True)
class ReportParts:
    """What a report is made of.

    Attributes
    ----------
    explained : dict
        ``(collection, system)`` to queries.
    groups : dict
        Collection to the group it is averaged into.
    command : str
        Makes the whole report; every result has the one that makes it alone.
    """

    title: str
    results: Sequence[Results]
    about: str = ""
    measure: str = "nDCG@10"
    baseline: str = ""
    comparisons: Sequence[Comparison] = ()
    checks: Sequence[Check] = ()
    skipped: Sequence[Skipped] = ()
    sweeps: Sequence[Sweep] = ()
    command: str = ""
    explained: Mapping[tuple[str, str], Sequence[ExplainedQuery]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    about_collections: Mapping[str, str] = field(default_factory=dict)
    compare_config: CompareConfig = field(default_factory=CompareConfig)


def html_report(parts: ReportParts, figures: Sequence[Figure]) -> str:
    """Return the page.

    Parameters
    ----------
    parts : ReportParts
        What it tells.
    figures : sequence of Figure
        Set into the page as they are.

    Raises
    ------
    MissingDependencyError
        If jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment
    except ImportError:
        raise MissingDependencyError(
            "jinja2", extra="eval", purpose="Writing an HTML report"
        ) from None
    table = overview(
        parts.results,
        parts.comparisons,
        measure=parts.measure,
        baseline=parts.baseline,
        groups=parts.groups,
    )
    environment = Environment(autoescape=True, trim_blocks=False, lstrip_blocks=True)
    source = resources.files("eval").joinpath("templates/report.html.j2")
    skipped: dict[str, list[str]] = {}
    for each in parts.skipped:
        skipped.setdefault(each.reason, []).append(f"{each.system} on {each.collection}")
    machines = list(dict.fromkeys(machine_line(r) for r in parts.results))
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        title=parts.title,
        about=parts.about,
        made=machines[0] if machines else "",
        table=table,
        test=parts.compare_config.test,
        figures=figures,
        command=parts.command,
        collections=[
            _collection(parts, label) for label in dict.fromkeys(r.label for r in parts.results)
        ],
        checks=parts.checks,
        skipped=skipped,
        machines=machines,
    )


def _collection(parts: ReportParts, label: str) -> dict[str, Any]:
    rows = [r for r in parts.results if r.label == label]
    measures = list(dict.fromkeys(name for r in rows for name in r.measures))
    marks = {m: significance_marks(parts.comparisons, m) for m in measures}
    best = {m: max(r.measures[m] for r in rows if m in r.measures) for m in measures}
    costs = [cost_cells(r) for r in rows]
    shown = [at for at in range(len(COST_COLUMNS)) if any(cost[at] for cost in costs)]
    about = parts.about_collections.get(label, "")
    return {
        "name": label,
        "n_queries": rows[0].n_queries,
        "about": about,
        "measures": measures,
        "costs": [COST_COLUMNS[at] for at in shown],
        "rows": [
            {
                "system": r.system,
                "scores": [
                    Cell(
                        r.measures.get(m),
                        marks[m].get((r.system, label), ""),
                        len(rows) > 1 and r.measures.get(m) == best[m],
                    )
                    for m in measures
                ],
                "costs": [cost[at] for at in shown],
                "notes": [note for note in row_notes(r) if note != about],
                "command": r.command,
            }
            for r, cost in zip(rows, costs, strict=True)
        ],
        "comparisons": [c for c in parts.comparisons if c.dataset == label],
        "explained": [
            {"system": system, "queries": queries}
            for (collection, system), queries in parts.explained.items()
            if collection == label and queries
        ],
    }
