"""The curve of a tuning: recall against time, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path

from indexing.tuning import Tuning
from lsr.core.artifact import storage_errors
from lsr.core.errors import ArgumentError, MissingDependencyError

__all__ = ["plot_tuning"]


def plot_tuning(tuning: Tuning, path: Path) -> None:
    """Write the curve of `tuning` as an image; the suffix says which kind.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ArgumentError
        If matplotlib does not write this kind of file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("matplotlib", extra="eval", purpose="--plot") from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    curve = sorted(tuning.curve, key=lambda p: p.recall)
    axes.plot([p.recall for p in curve], [p.mean_us for p in curve], marker="o", label="mean")
    axes.plot(
        [p.recall for p in curve], [p.p99_us for p in curve], marker=".", alpha=0.5, label="p99"
    )
    for target, point in tuning.targets.items():
        axes.scatter([point.recall], [point.mean_us], marker="*", s=160, zorder=3)
        axes.annotate(f"tuned for {target}", (point.recall, point.mean_us), fontsize=8)
    axes.set_yscale("log")
    axes.set_xlabel(f"recall@{tuning.k} of exact search")
    axes.set_ylabel("µs a query, one thread")
    axes.set_title(f"{tuning.layout}, {tuning.machine.processor}", fontsize=9)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    if path.suffix.lstrip(".") not in figure.canvas.get_supported_filetypes():
        kinds = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
        raise ArgumentError(f"Cannot draw a {path.suffix or 'suffix-less'} file; known: {kinds}.")
    with storage_errors(path, "plot"):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
