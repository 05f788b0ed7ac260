"""``python -m lsr.training RECIPE --out DIR``: what torchrun starts on every process.

The same as ``lsr train``, without the rest of the command line.
"""

from __future__ import annotations

import sys

import typer

from lsr.commands.train import train
from lsr.core.errors import LsrError


def main() -> None:
    """Run the command; errors end it as those of ``lsr`` do."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app()
    except LsrError as error:
        typer.secho(f"Error [{error.code}]: {error}", fg="red", err=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
