"""Where the figures of a training go: JSON lines always, TensorBoard where asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsr.core.artifact import write_text_atomic
from lsr.core.errors import MissingDependencyError

__all__ = ["forget_after", "read_log", "tensorboard_writer", "write_json_line"]


def write_json_line(path: Path, record: dict[str, Any]) -> None:
    """Append one record to a JSON-lines log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log, none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def forget_after(path: Path, *, stage: str, step: int) -> None:
    """Drop the records of `stage`, and evaluations, behind `step`: a resumed run writes them anew.

    A killed run has logged steps that its last checkpoint does not know.
    """
    records = read_log(path)
    kept = [r for r in records if r["stage"] not in (stage, "evaluate") or int(r["step"]) <= step]
    if len(kept) < len(records):
        write_text_atomic(path, "".join(json.dumps(r) + "\n" for r in kept))


def tensorboard_writer(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Return a function that writes a record's numbers as scalars ``STAGE/NAME``.

    Raises
    ------
    MissingDependencyError
        If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "tensorboard", extra="train", purpose="Writing TensorBoard logs"
        ) from error
    writer = SummaryWriter(str(folder))

    def write(record: dict[str, Any]) -> None:
        stage, step = record["stage"], int(record["step"])
        for name, value in record.items():
            if name not in ("stage", "step", "time") and isinstance(value, int | float):
                writer.add_scalar(f"{stage}/{name}", value, step)
        writer.flush()

    return write
