"""What must not stand in the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Written with a class of one letter so that this file does not find itself.
FORBIDDEN = re.compile(
    r"/wor[k]/|/tm[p]/lab|/hom[e]/[a-z]|files\.pythonhoste[d]|pypi\.or[g]/simple"
)
SHIPPED_LIMIT = 3_000_000


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_paths(tracked: list[Path]) -> None:
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = FORBIDDEN.search(text)
        assert found is None, f"{path}: {found.group() if found else ''}"


def test_no_large_files(tracked: list[Path]) -> None:
    for path in tracked:
        if "pretrained" not in path.parts:
            assert path.stat().st_size < SHIPPED_LIMIT, path
