"""Plots as SVG text: bars by collection, quality against cost, recall against latency.

Every function takes results and returns an ``<svg>`` element that stands alone in a page. Text
stays text, so a reader can search and copy it; colours are of the Okabe–Ito palette, which
readers with any colour vision tell apart, and markers differ as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lsr.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from eval.sweep import Sweep

__all__ = ["Bar", "bars_plot", "recall_latency_plot", "scatter_plot"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#4D4D4D")
MARKERS = "osD^vPX*"
_BASELINE = "#4D4D4D"
_VERDICTS = {"": "#8A8F98", "▲": "#0072B2", "▼": "#C2590A"}
"""Not different from the baseline, better, worse; white figures are legible on each."""


class Bar(NamedTuple):
    """One system's score on a collection.

    Attributes
    ----------
    interval : (float, float)
        Drawn as a whisker.
    mark : str
        ``▲`` or ``▼`` where it differs significantly from the baseline.
    """

    system: str
    value: float
    interval: tuple[float, float]
    mark: str = ""


def bars_plot(panels: Mapping[str, Sequence[Bar]], *, measure: str, baseline: str = "") -> str:
    """Return bars, one panel a collection: names stand beside them, so many systems stay legible.

    Parameters
    ----------
    panels : mapping
        Collection to its bars, in order.
    measure : str
        The axis' name.
    baseline : str
        A system whose score is drawn as a line through its panel.
    """
    pyplot = _pyplot()
    systems = list(dict.fromkeys(bar.system for bars in panels.values() for bar in bars))
    n_columns = min(4, max(1, len(panels)))
    n_rows = -(-len(panels) // n_columns)
    figure, grid = pyplot.subplots(
        n_rows,
        n_columns,
        figsize=(2.4 + 2.1 * n_columns, n_rows * (0.75 + 0.21 * len(systems))),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (collection, bars) in zip(grid.flat, panels.items(), strict=False):
        for bar in bars:
            place = systems.index(bar.system)
            colour = _BASELINE if bar.system == baseline else _VERDICTS[bar.mark]
            axes.barh(place, bar.value, 0.74, color=colour)
            axes.plot(bar.interval, [place, place], color="#222222", linewidth=0.9)
            axes.text(
                0.02, place, f"{bar.value:.3f}", fontsize=7.5, va="center", color="#ffffff",
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            if bar.system == baseline:
                axes.axvline(bar.value, color="#222222", linewidth=0.9, linestyle=":")
        axes.set_title(collection, fontsize=9.5, loc="left")
        axes.set_yticks(range(len(systems)), systems, fontsize=8.5)
        axes.set_ylim(len(systems) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8)
    figure.supxlabel(measure, fontsize=9)
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
            # From the ninth point on the colours come again, each with another marker.
            MARKERS[(at + at // len(COLOURS)) % len(MARKERS)],
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
