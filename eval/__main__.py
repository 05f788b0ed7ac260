"""``python -m eval``: the verbs of `lsr eval`, with the same errors and exit codes."""

from __future__ import annotations

import sys

from lsr.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.argv[1:1] = ["eval"]
    main()
