"""What the command line shows: logging, progress bars, tables, JSON.

Results go to standard output, everything else to standard error. Only this module configures
logging; library code never prints.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

__all__ = ["configure", "configure_lines", "emit", "print_table", "progress_bar", "track"]

T = TypeVar("T")
_state = {"quiet": False, "json": False}


def configure(*, quiet: bool = False, json_output: bool = False, log_level: str = "INFO") -> None:
    """Set up logging and remember how this process shows its results.

    Parameters
    ----------
    quiet : bool
        No progress bars, and only warnings and errors are logged.
    json_output : bool
        Results are printed as one JSON document.
    log_level : str
        Level of the ``lsr``, ``indexing``, ``serving`` and ``eval`` loggers.
    """
    _state["quiet"], _state["json"] = quiet, json_output
    handler = RichHandler(
        console=Console(stderr=True), show_path=False, show_level=False, log_time_format="%H:%M:%S"
    )
    level = logging.WARNING if quiet else getattr(logging, log_level)
    for name in ("lsr", "indexing", "serving", "eval"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _BareHandler(logging.Handler):
    """Writes messages to what standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(record.getMessage() + "\n")


def configure_lines(name: str) -> None:
    """Let the logger `name` write its messages bare, one a line, to standard error.

    For logs that programs read: the messages are JSON already.
    """
    logger = logging.getLogger(name)
    logger.handlers[:] = [_BareHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def emit(result: Mapping[str, Any], show: Callable[[], None]) -> None:
    """Print a command's result: `result` as JSON under ``--json``, else by calling `show`."""
    if _state["json"]:
        json.dump(result, sys.stdout, ensure_ascii=False, indent=1, default=str)
        sys.stdout.write("\n")
    else:
        show()


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table on standard output; numbers are right-aligned."""
    materialised = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold")
    for at, column in enumerate(columns):
        numeric = bool(materialised) and all(
            isinstance(row[at], int | float) for row in materialised
        )
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in materialised:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    Console().print(table)


@contextmanager
def progress_bar(
    description: str, total: int | None = None, *, unit: str = ""
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error; the block gets ``advance(n)``.

    There is no bar under ``--quiet`` or when standard error is no terminal.
    """
    console = Console(stderr=True)
    if _state["quiet"] or not console.is_terminal:
        yield lambda n: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total, unit=unit, rate="")

        def advance(n: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, advance=n, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance


def track(
    items: Iterable[T], description: str, total: int | None = None, *, unit: str = ""
) -> Iterator[T]:
    """Yield `items` under a progress bar."""
    with progress_bar(description, total, unit=unit) as advance:
        for item in items:
            yield item
            advance(1)
