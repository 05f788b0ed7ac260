"""Plots as SVG text: bars by collection, quality against cost, recall against latency.

Every function takes results and returns an ``<svg>`` element that stands alone in a page. Text
stays text, so a reader can search and copy it; colours are of the Okabe–Ito palette, which
readers with any colour vision tell apart, and markers differ as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lsr.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from eval.sweep import Sweep

__all__ = ["bars_plot", "recall_latency_plot", "scatter_plot"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#4D4D4D")
MARKERS = "osD^vPX*"


def bars_plot(
    collections: Sequence[str],
    scores: dict[str, list[float | None]],
    *,
    measure: str,
    errors: dict[str, list[tuple[float, float] | None]] | None = None,
) -> str:
    """Return grouped bars: one group a collection, one bar a system.

    Parameters
    ----------
    collections : sequence of str
        Groups, in order.
    scores : dict
        System to one score a collection; None leaves the bar out.
    measure : str
        The axis' name.
    errors : dict, optional
        System to one confidence interval a collection, drawn as whiskers.
    """
    pyplot = _pyplot()
    n = max(1, len(scores))
    width = 0.82 / n
    figure, axes = pyplot.subplots(figsize=(max(7.0, 1.15 * len(collections) + 2), 3.6))
    for at, (system, values) in enumerate(scores.items()):
        there = [i for i, value in enumerate(values) if value is not None]
        heights = [values[i] for i in there]
        places = [i + (at - (n - 1) / 2) * width for i in there]
        colour = COLOURS[at % len(COLOURS)]
        axes.bar(places, heights, width * 0.94, label=system, color=colour)
        for place, i, height in zip(places, there, heights, strict=True):
            interval = errors[system][i] if errors else None
            if interval is not None and height is not None:
                axes.plot([place, place], interval, color="#333333", linewidth=0.9)
    axes.set_xticks(range(len(collections)), collections)
    axes.set_ylabel(measure)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    _legend(axes, n)
    return _svg(figure)


def scatter_plot(
    points: Sequence[tuple[str, float, float]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = True,
) -> str:
    """Return labelled points: quality upwards, cost to the right.

    Parameters
    ----------
    points : sequence of (str, float, float)
        Name, x, y.
    x_label, y_label : str
        Names of the axes, with units.
    log_x : bool
        Logarithmic x.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(5.6, 3.6))
    for at, (name, x, y) in enumerate(points):
        axes.plot(
            x,
            y,
            MARKERS[at % len(MARKERS)],
            color=COLOURS[at % len(COLOURS)],
            markersize=8,
            label=name,
        )
    if log_x:
        axes.set_xscale("log")
        _plain_log_ticks(axes)
    axes.margins(x=0.12, y=0.15)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    # A legend, not labels beside the points: near points would write over one another.
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def recall_latency_plot(sweeps: Sequence[Sweep]) -> str:
    """Return recall–latency curves: x recall@k against exact search, y mean µs (logarithmic).

    The Pareto front is a line, the other settings are faint, exact search ends the curve.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for at, curve in enumerate(sweeps):
        colour = COLOURS[at % len(COLOURS)]
        rest = [p for p in curve.points if not p.pareto]
        front = sorted(curve.front, key=lambda p: p.recall)
        axes.plot(
            [p.recall for p in rest],
            [p.latency.mean_us for p in rest],
            ".",
            color=colour,
            alpha=0.35,
        )
        axes.plot(
            [p.recall for p in front],
            [p.latency.mean_us for p in front],
            "-" + MARKERS[at % len(MARKERS)],
            color=colour,
            markersize=5,
            label=curve.name,
        )
        axes.plot(
            1.0,
            curve.exact.latency.mean_us,
            "*",
            color=colour,
            markersize=12,
            markeredgecolor="#333333",
            label=f"{curve.name}: exact search",
        )
    axes.set_yscale("log")
    _plain_log_ticks(axes, which="y")
    axes.set_xlabel(f"recall@{sweeps[0].k if sweeps else 10} against exact search")
    axes.set_ylabel("µs a query, mean, one thread")
    axes.grid(color="#dddddd", linewidth=0.7, which="both")
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise MissingDependencyError("matplotlib", extra="eval", purpose="Drawing a plot") from None
    # No display is needed, and none is looked for.
    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "lsr",
            "font.family": "sans-serif",
            "font.size": 9.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    return pyplot


def _plain_log_ticks(axes: Any, *, which: str = "x") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Any, n: int) -> None:
    axes.legend(
        fontsize=8.5,
        frameon=False,
        ncols=min(4, n),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        handlelength=1.2,
    )


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    text = buffer.getvalue()
    # Only the element itself: the page is HTML and has its own head. The view box scales it.
    element = text[text.index("<svg") :]
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1),
        count=1,
    )
