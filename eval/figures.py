"""The figures of a report: what is drawn, from which results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.plots import Bar, bars_plot, recall_latency_plot, scatter_plot
from eval.results import Results
from eval.significance import CompareConfig, Comparison, mean_interval
from eval.summary import significance_marks
from eval.sweep import Sweep

__all__ = ["Figure", "draw_figures"]


@dataclass(frozen=True)
class Figure:
    """One drawing: `name` is that of its file, `svg` an element that stands alone."""

    name: str
    caption: str
    svg: str


def draw_figures(
    results: Sequence[Results],
    *,
    measure: str,
    baseline: str,
    comparisons: Sequence[Comparison] = (),
    config: CompareConfig | None = None,
    sweeps: Sequence[Sweep] = (),
) -> list[Figure]:
    """Return what can be drawn: scores by collection, quality against cost, recall against latency.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    scored = [r for r in results if measure in r.measures]
    drawings = []
    if scored:
        marks = significance_marks(comparisons, measure)
        panels: dict[str, list[Bar]] = {}
        for r in scored:
            values = np.array(list(r.per_query[measure].values()))
            interval = mean_interval(values, config or CompareConfig())
            mark = marks.get((r.system, r.label), "")
            panels.setdefault(r.label, []).append(
                Bar(r.system, r.measures[measure], interval, mark)
            )
        caption = (
            f"{measure} by collection, with 95 % bootstrap intervals of the mean over queries. "
            f"Blue and orange: significantly better and worse than {baseline}, the dotted line."
        )
        svg = bars_plot(panels, measure=measure, baseline=baseline)
        drawings.append(Figure("scores", caption, svg))
    for name, caption, x_label, cost in (
        ("latency", "Quality against latency.", "µs a query, mean, one thread", _latency),
        (
            "sparsity",
            "Quality against FLOPS (sparse systems).",
            "FLOPS: products a document",
            _flops,
        ),
    ):
        points = _means(scored, measure, cost)
        if len(points) > 1:
            y_label = f"{measure}, mean over collections"
            drawings.append(
                Figure(name, caption, scatter_plot(points, x_label=x_label, y_label=y_label))
            )
    if sweeps:
        caption = (
            "Recall against exact search and latency: the Pareto front (chosen on half of the "
            "queries, measured on the other half), all settings, exact search."
        )
        drawings.append(Figure("recall", caption, recall_latency_plot(sweeps)))
    return drawings


def _means(
    scored: Sequence[Results], measure: str, cost: Callable[[Results], float | None]
) -> list[tuple[str, float, float]]:
    """Return (system, mean cost, mean quality) of the systems measured on all collections."""
    n_collections = len({r.label for r in scored})
    points = []
    for system in dict.fromkeys(r.system for r in scored):
        mine = [r for r in scored if r.system == system]
        costs = [found for r in mine if (found := cost(r)) is not None]
        if len(costs) == n_collections:
            quality = float(np.mean([r.measures[measure] for r in mine]))
            points.append((system, float(np.mean(costs)), quality))
    return points


def _latency(result: Results) -> float | None:
    search = result.efficiency.search
    return search.mean_us if search else None


def _flops(result: Results) -> float | None:
    sparsity = result.efficiency.sparsity
    return sparsity.flops if sparsity else None
