"""``python -m lsr.training RECIPE.toml --out DIR``: what torchrun starts on every process.

The same as ``lsr train``, without the rest of the command line.
"""

from __future__ import annotations

import typer

from lsr.commands.train import train

if __name__ == "__main__":
    typer.run(train)
