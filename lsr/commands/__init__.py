"""The verbs that belong to `lsr` itself: data, vectors, encode, encoder, train."""

from __future__ import annotations

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Mount the verbs on the root command."""
    from lsr.commands import data, encode, encoder, train, vectors

    for module in (data, vectors, encode, encoder, train):
        module.register(app)
