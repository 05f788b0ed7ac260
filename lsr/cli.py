"""The root of the command line: mounts every package's verbs, turns errors into exit codes.

Exit codes: 0 done, 1 a check failed, 2 wrong use or config, 3 missing or unusable data,
130 interrupted.
"""

from __future__ import annotations

import json
import sys

import typer

from lsr.core.errors import LsrError

__all__ = ["app", "main"]

app = typer.Typer(
    name="lsr",
    help="Learned sparse retrieval: train, encode, index, serve, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _mount() -> None:
    from eval import commands as eval_commands
    from indexing import commands as index_commands
    from lsr import commands as lsr_commands
    from serving import commands as serving_commands

    for commands in (lsr_commands, index_commands, serving_commands, eval_commands):
        commands.register(app)


def _version(value: bool) -> None:
    if value:
        from lsr.core.manifest import lsr_version

        typer.echo(f"lsr {lsr_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and leave."
    ),
) -> None:
    """Learned sparse retrieval: train, encode, index, serve, evaluate."""


def main() -> None:
    """Run the command line; the console script ``lsr``."""
    _mount()
    try:
        app()
    except LsrError as error:
        if "--json" in sys.argv:
            body = {"code": error.code, "message": error.message, "hint": error.hint}
            typer.echo(json.dumps({"error": body}, ensure_ascii=False))
        typer.secho(f"Error [{error.code}]: {error.message}", fg="red", err=True)
        if error.hint:
            typer.secho(f"  {error.hint}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
