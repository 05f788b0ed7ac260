"""Writers killed at random moments, and disks that fail under SQLite itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.helpers.live_model import memory_folder

ROOT = Path(__file__).resolve().parents[2]


def drive(folder: Path, rounds: int, seed: int) -> dict[str, int]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.helpers.crash_driver", str(folder)),
            *("--rounds", str(rounds), "--seed", str(seed)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, int] = json.loads(done.stdout)
    return result


def test_a_killed_writer_loses_nothing_that_it_acknowledged() -> None:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        result = drive(Path(folder), 5, 3)
    assert result["rounds"] == 5
    assert result["acknowledged"] >= 5


@pytest.mark.slow
def test_a_writer_killed_hundreds_of_times_loses_nothing(tmp_path: Path) -> None:
    result = drive(tmp_path, 300, 5)
    assert result["rounds"] == 300
    assert result["cut_off"] > 50
    assert result["snapshots"] > 3


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
static int n;
static int refuse(void) {
    const char *at = getenv("LSR_TEST_FAIL_SYNC");
    return at && ++n > atoi(at);
}
int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (refuse()) { errno = EIO; return -1; }
    return real(fd);
}
int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    if (refuse()) { errno = EIO; return -1; }
    return real(fd);
}
"""

WRITER = """
import json, os, resource, sys
from pathlib import Path
from indexing.collection import Collection
from lsr.core.errors import StorageError
from tests.helpers.crash_driver import make
path, n_limit = Path(sys.argv[1]), int(sys.argv[2])
collection = Collection.open(path, mode="w", background=False)
if n_limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_limit, n_limit))
acknowledged, refused = [], 0
for n in range(60):
    try:
        collection.upsert(*zip(make(f"d-{n}", 1)))
        acknowledged.append(f"d-{n}")
        if n % 20 == 19:
            collection.seal()
    except StorageError as error:
        assert error.hint
        refused += 1
# Searching goes on, over what was acknowledged.
assert sorted(collection.doc_ids()) == sorted(acknowledged)
print(json.dumps({"acknowledged": acknowledged, "refused": refused}), flush=True)
os._exit(0)
"""


def write_under(path: Path, limit: int, environment: dict[str, str]) -> tuple[list[str], int]:
    from indexing.collection import Collection
    from tests.helpers.crash_driver import CONFIG, VOCABULARY

    Collection.create(path, VOCABULARY, config=CONFIG, encoder="t", idf="none").close()
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), str(limit)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    return told["acknowledged"], told["refused"]


def require_kept(path: Path, acknowledged: list[str]) -> None:
    """Check the state; a refused write may be there whole, the last one only."""
    from indexing.collection import Collection
    from indexing.collection_copies import verify
    from tests.helpers.crash_driver import make

    with Collection.open(path, mode="w", background=False) as collection:
        kept = list(collection.doc_ids())
        assert kept[: len(acknowledged)] == acknowledged
        assert len(kept) - len(acknowledged) <= 1
        for doc_id in kept:
            document, vector = make(doc_id, 1)
            assert collection.document(doc_id) == document
            assert collection.vector(doc_id) == vector
        assert collection.upsert(*zip(make("d-100", 1), strict=True)).n_added == 1
        collection.merge()
    assert verify(path) == []


@pytest.mark.slow
@pytest.mark.parametrize("limit", [70_000, 120_000, 400_000])
def test_a_file_that_cannot_grow(tmp_path: Path, limit: int) -> None:
    acknowledged, refused = write_under(tmp_path / "live", limit, {})
    assert acknowledged
    assert refused
    require_kept(tmp_path / "live", acknowledged)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 5, 33, 60])
def test_a_sync_that_fails(tmp_path: Path, after: int) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, tmp_path / "shim.c", "-ldl"], check=True
    )
    environment = {"LD_PRELOAD": str(library), "LSR_TEST_FAIL_SYNC": str(after)}
    acknowledged, refused = write_under(tmp_path / "live", 0, environment)
    assert refused
    assert bool(acknowledged) == (after > 0)
    require_kept(tmp_path / "live", acknowledged)
