"""Results as one HTML file that needs nothing else: tables, plots, explained queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from eval.explanations import ExplainedQuery
from eval.plots import bars_plot, recall_latency_plot, scatter_plot
from eval.report import COST_COLUMNS, cost_cells, machine_line, row_notes
from eval.reproduce import Check
from eval.results import Results
from eval.running import Skipped
from eval.significance import CompareConfig, Comparison, mean_interval
from eval.summary import Cell, Overview, overview
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
    explained: Mapping[tuple[str, str], Sequence[ExplainedQuery]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    about_collections: Mapping[str, str] = field(default_factory=dict)
    compare_config: CompareConfig = field(default_factory=CompareConfig)


def html_report(parts: ReportParts) -> str:
    """Return the page.

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
        figures=_figures(parts, table),
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
    marks = {
        (c.system, c.measure): "▲" if c.difference > 0 else "▼"
        for c in parts.comparisons
        if c.dataset == label and c.p_holm < 0.05
    }
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
                        marks.get((r.system, m), ""),
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


def _figures(parts: ReportParts, table: Overview) -> list[dict[str, str]]:
    figures: list[dict[str, str]] = []
    labels = list(dict.fromkeys(r.label for r in parts.results if parts.measure in r.measures))
    found = {(r.system, r.label): r for r in parts.results if parts.measure in r.measures}
    if labels:
        scores: dict[str, list[float | None]] = {}
        errors: dict[str, list[tuple[float, float] | None]] = {}
        for system in table.rows:
            there = [found.get((system, label)) for label in labels]
            scores[system] = [r.measures[parts.measure] if r else None for r in there]
            errors[system] = [_interval(r, parts) if r else None for r in there]
        figures.append(
            {
                "svg": bars_plot(labels, scores, measure=parts.measure, errors=errors),
                "caption": f"{parts.measure} by collection, with 95 % bootstrap intervals of the "
                "mean over queries.",
            }
        )
    # A point is a mean over collections, so only systems that were measured on all of them.
    for caption, x_label, cost in (
        ("Quality against latency.", "µs a query, mean, one thread", _latency),
        ("Quality against FLOPS (sparse systems).", "FLOPS: products a document", _flops),
    ):
        points = []
        for system in table.rows:
            measured = [found[system, label] for label in labels if (system, label) in found]
            costs = [cost(r) for r in measured]
            if len(measured) == len(labels) and costs and None not in costs:
                quality = sum(r.measures[parts.measure] for r in measured) / len(measured)
                points.append((system, sum(c or 0.0 for c in costs) / len(costs), quality))
        if len(points) > 1:
            label = f"{parts.measure}, mean over collections"
            figures.append(
                {"svg": scatter_plot(points, x_label=x_label, y_label=label), "caption": caption}
            )
    if parts.sweeps:
        figures.append(
            {
                "svg": recall_latency_plot(parts.sweeps),
                "caption": "Recall against exact search and latency: the Pareto front (chosen on "
                "half of the queries, measured on the other half), all settings, exact search.",
            }
        )
    return figures


def _interval(result: Results, parts: ReportParts) -> tuple[float, float]:
    import numpy as np

    values = np.array(list(result.per_query[parts.measure].values()))
    return mean_interval(values, parts.compare_config)


def _latency(result: Results) -> float | None:
    search = result.efficiency.search
    return search.mean_us if search else None


def _flops(result: Results) -> float | None:
    sparsity = result.efficiency.sparsity
    return sparsity.flops if sparsity else None
