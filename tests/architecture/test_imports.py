"""What may be loaded when, and who may import whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "fastapi",
    "uvicorn",
    "ray",
    "matplotlib",
    "faiss",
    "ir_measures",
    "ir_datasets",
    "pyserini",
    "onnxruntime",
}


def loaded_after(code: str) -> set[str]:
    probe = f"{code}\nimport sys; print(*{{n.partition('.')[0] for n in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import lsr",
        "import indexing",
        "import serving, eval",
        "from lsr import load_dataset, load_encoder",
        "from lsr.cli import app, _mount; _mount()",
    ],
)
def test_light_imports(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['lsr', '--help']\n"
        "from lsr.cli import main\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()"
    )
    assert not loaded_after(code) & (HEAVY | {"numba"})


def test_layers() -> None:
    pytest.importorskip("importlinter", reason="import-linter comes with the extra dev")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_tests_folder_is_a_package() -> None:
    folders = {p.parent for p in (ROOT / "tests").rglob("test_*.py")}
    for folder in folders:
        while folder != ROOT:
            assert (folder / "__init__.py").exists(), folder
            folder = folder.parent
