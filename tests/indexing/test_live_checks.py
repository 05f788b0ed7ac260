"""The check of the write-ahead log: damage is told from what a killed writer leaves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from indexing.live_checks import check_log, note_store, require_store
from indexing.live_rows import Widths
from indexing.live_store import STORE_NAME, LiveStore, create_store
from lsr.core.errors import ArtifactCorruptedError, ArtifactNotFoundError

FRAME = 24 + 4096


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def grown(start: Path, folder: Path, write: Callable[[sqlite3.Connection], None]) -> bytes:
    """Return the log after one more write to a copy of the database at `start`."""
    folder.mkdir()
    path = folder / start.name
    for file in (start, log_of(start)):
        shutil.copy2(file, folder / file.name)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("BEGIN")
    write(connection)
    connection.execute("COMMIT")
    log = log_of(path).read_bytes()
    connection.close()
    return log


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database whose two writes are in its log, as a crash leaves it."""
    path = tmp_path / "made" / STORE_NAME
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES ('first')")
    left = tmp_path / "left"
    shutil.copytree(path.parent, left)
    connection.close()
    return left / STORE_NAME


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    (n,) = connection.execute("SELECT COUNT(*) FROM t").fetchone()
    connection.close()
    return int(n)


def test_frames_of_a_killed_write_behind_a_later_one_are_no_damage(
    database: Path, tmp_path: Path
) -> None:
    big = "x" * 3000
    killed = grown(
        database,
        tmp_path / "killed",
        lambda c: c.executemany("INSERT INTO t VALUES (?)", [(big,)] * 20),  # type: ignore[arg-type, return-value]
    )[:-FRAME]
    later = grown(
        database,
        tmp_path / "later",
        lambda c: c.execute("INSERT INTO t VALUES ('later')"),  # type: ignore[arg-type, return-value]
    )
    assert len(killed) > len(later) + 2 * FRAME
    assert killed[:32] == later[:32]
    log_of(database).write_bytes(later + killed[len(later) :])
    check_log(database)
    damaged = bytearray(log_of(database).read_bytes())
    damaged[32 + 500] ^= 4
    keep = log_of(database).read_bytes()
    log_of(database).write_bytes(damaged)
    with pytest.raises(ArtifactCorruptedError, match="frame 0"):
        check_log(database)
    log_of(database).write_bytes(keep)
    assert rows(database) == 2


def test_a_write_cut_off_at_any_byte_is_no_damage(database: Path) -> None:
    whole = log_of(database).read_bytes()
    assert (len(whole) - 32) % FRAME == 0
    last = len(whole) - FRAME
    for length in (0, 10, 32, 40, last, last + 1, last + 24, last + 2000, len(whole) - 1):
        log_of(database).write_bytes(whole[:length])
        check_log(database)


def test_every_flipped_bit_of_a_log_is_damage(database: Path) -> None:
    whole = log_of(database).read_bytes()
    for at in [*range(32), *range(32, 56), *range(56, len(whole), 331)]:
        # The byte that counts the pages of a commit is checked with the frame.
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        log_of(database).write_bytes(flipped)
        with pytest.raises(ArtifactCorruptedError):
            check_log(database)


def test_a_fitting_stamp_spares_reading_and_any_other_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / STORE_NAME
    with pytest.raises(ArtifactNotFoundError):
        require_store(path, Widths(10))
    create_store(path, "0" * 64)
    note_store(path)
    read: list[Path] = []
    monkeypatch.setattr(
        "indexing.live_checks.check_store", lambda path, size: read.append(path) or []
    )
    require_store(path, Widths(10))
    assert read == []
    path.touch()
    require_store(path, Widths(10))
    assert read == [path]


def test_a_store_without_its_rows_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / STORE_NAME
    create_store(path, "0" * 64)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM state")
    connection.commit()
    connection.close()
    with pytest.raises(ArtifactCorruptedError, match="state row"):
        require_store(path, Widths(10))
    path.write_bytes(b"no database at all" * 500)
    with pytest.raises(ArtifactCorruptedError):
        require_store(path, Widths(10))
    with (
        pytest.raises(ArtifactCorruptedError),
        LiveStore(path, Widths(10), writable=False).read() as look,
    ):
        look.state()
