"""``lsr keys``: the API keys of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.core.options import JsonOption, QuietOption

__all__ = ["register"]

FileOption = Annotated[Path, typer.Option("--file", "-f", help="The file of keys.")]
NameArgument = Annotated[str, typer.Argument(help="What the key is called.", show_default=False)]
_DEFAULT = Path("lsr-keys.json")


def register(app: typer.Typer) -> None:
    """Mount ``lsr keys``."""
    verbs = typer.Typer(name="keys", help="Make and remove API keys.", no_args_is_help=True)
    verbs.command("add")(add)
    verbs.command("list")(list_keys)
    verbs.command("remove")(remove)
    app.add_typer(verbs)


def add(
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="read, write or admin.")] = "read",
    file: FileOption = _DEFAULT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a key and show it, once; the file keeps only its hash.

    Example: `lsr keys add page --role read --file lsr-keys.json`
    """
    from lsr.core import console
    from lsr.core.errors import ConfigError
    from serving.keys import ROLES, KeyRing

    console.configure(quiet=quiet, json_output=as_json)
    if role not in ROLES:
        raise ConfigError(f"--role is one of {', '.join(ROLES)}, got {role!r}.")
    ring = KeyRing.load(file) if file.exists() else KeyRing()
    ring, token = ring.with_new(name, role)
    ring.save(file)
    console.emit({"name": name, "role": role, "key": token}, lambda: typer.echo(token))


def list_keys(
    file: FileOption = _DEFAULT, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List the keys: name, role, when it was made.

    Example: `lsr keys list --file lsr-keys.json`
    """
    from lsr.core import console
    from serving.keys import KeyRing

    console.configure(quiet=quiet, json_output=as_json)
    keys = [key.model_dump(exclude={"sha256"}) for key in KeyRing.load(file).keys]
    console.emit(
        {"keys": keys},
        lambda: console.print_table(["name", "role", "created"], [list(k.values()) for k in keys]),
    )


def remove(
    name: NameArgument,
    file: FileOption = _DEFAULT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove a key; a running service refuses it from then on.

    Example: `lsr keys remove page --file lsr-keys.json`
    """
    from lsr.core import console
    from serving.keys import KeyRing

    console.configure(quiet=quiet, json_output=as_json)
    KeyRing.load(file).without(name).save(file)
    console.emit({"removed": name}, lambda: typer.echo(f"Removed {name}."))
