"""Is what lies on the disk what was written? Checks that make damage an error, never an answer.

*Stamps*: size and modification time of every file that does not change. Where they are as noted,
the file counts as untouched and is not read, so that opening takes milliseconds; where not (it was
changed, or copied), it is read and compared with its SHA-256. The database changes with every
checkpoint, so its stamp is noted after each of them, and where it does not fit all of it is checked.

*The log*: SQLite reads its write-ahead log up to the first damaged frame and drops the rest without
a word. `check_log` tells damage from the torn end that a crash leaves: writes are synced one after
another, so before the end of a finished write there is nothing torn.

What no stamp can see is decay of the medium itself; ``lsr index verify`` reads everything.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from indexing.jit import read_only
from indexing.kernels import log_sum
from indexing.live_rows import Widths
from indexing.live_store import STORE_NAME, LiveStore
from lsr.core.artifact import (
    MANIFEST_NAME,
    file_digest,
    read_manifest,
    verify_artifact,
    write_text_atomic,
)
from lsr.core.errors import ArtifactCorruptedError, ArtifactNotFoundError, LsrError
from lsr.core.manifest import Manifest

__all__ = [
    "check_log",
    "check_stamps",
    "check_store",
    "note_store",
    "read_collection",
    "require_store",
    "stamps_of",
]

STAMP_NAME = "store.stamp.json"
_LOG_MAGIC = (0x377F0682, 0x377F0683)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def stamps_of(folder: Path) -> str:
    """Return the stamps of all files below `folder`, as JSON."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return json.dumps({p.relative_to(folder).as_posix(): _stamp(p) for p in files})


def check_stamps(folder: Path, stamps: str, manifest: Manifest) -> list[str]:
    """Return one line for every listed file that was touched and differs from its checksum."""
    noted = json.loads(stamps)
    problems = []
    for name, entry in manifest.files.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{name}: missing")
        elif _stamp(file) != noted.get(name) and file_digest(file) != entry.sha256:
            problems.append(f"{name}: checksum differs")
    return problems


def read_collection(path: Path, format_version: int) -> Manifest:
    """Return the manifest of the collection at `path`, checked with the files that it lists.

    The manifest's own checksum stands in the store.

    Raises
    ------
    ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
        If it is not there, not of this format, or damaged.
    """
    manifest = read_manifest(path, kind="collection", format_version=format_version)
    hint = "Restore the collection from a snapshot (lsr index restore)."
    if not (path / STORE_NAME).is_file():
        raise ArtifactNotFoundError(f"No database at {path / STORE_NAME}.", hint=hint)
    # The manifest is not believed yet; its checksum needs no widths.
    store = LiveStore(path / STORE_NAME, Widths(1), writable=False)
    try:
        with store.read() as look:
            digest = look.manifest_sha256()
    finally:
        store.close()
    if digest != file_digest(path / MANIFEST_NAME):
        raise ArtifactCorruptedError(f"{path / MANIFEST_NAME} was changed.", hint=hint)
    problems = verify_artifact(path, manifest)
    if problems:
        raise ArtifactCorruptedError(f"{path} is damaged: {'; '.join(problems)}.", hint=hint)
    return manifest


# --- the database ----------------------------------------------------------------------------


def note_store(path: Path) -> None:
    """Note the stamp of the database at `path`, after a checkpoint."""
    write_text_atomic(path.with_name(STAMP_NAME), json.dumps(_stamp(path)))


def require_store(path: Path, widths: Widths) -> None:
    """Check the database at `path`, which nobody writes to, before it is opened.

    Raises
    ------
    ArtifactNotFoundError
        If it is not there.
    ArtifactCorruptedError
        If it, or its log, is damaged.
    """
    if not path.is_file():
        raise ArtifactNotFoundError(
            f"No database at {path}.", hint="Restore the collection from a snapshot."
        )
    check_log(path)
    try:
        noted = json.loads(path.with_name(STAMP_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = None
    if noted == _stamp(path):
        return
    problems = check_store(path, widths)
    if problems:
        raise ArtifactCorruptedError(
            f"{path} is damaged: {'; '.join(problems[:5])}.",
            hint="lsr index repair mends its indexes; else restore it from a snapshot.",
        )


def check_store(path: Path, widths: Widths, *, derived: bool = True) -> list[str]:
    """Read the whole database; return one line for every problem.

    Without `derived` the rows of segments, which can be made again, are left out.
    """
    store = LiveStore(path, widths, writable=False)
    try:
        with store.read() as look:
            problems = [
                f"{line[0]}"
                for line in look.connection.execute("PRAGMA integrity_check(20)")
                if line[0] != "ok"
            ]
            if problems:
                return problems
            state = look.state()
            n_documents = sum(1 for _ in look.rows(0, state.next_number - 1))
            (documents_sum,) = look.connection.execute(
                "SELECT IFNULL(SUM(crc), 0) FROM documents"
            ).fetchone()
            seen = (n_documents, documents_sum, look.vectors_sum())
            if seen != (state.n_documents, state.documents_sum, state.vectors_sum):
                problems.append(
                    f"{n_documents} documents, the counters say {state.n_documents}, "
                    "or their checksums do not add up"
                )
            look.fields()
            if derived:
                look.segments()
    except LsrError as error:
        return [error.message]
    finally:
        store.close()
    return problems


# --- its log -----------------------------------------------------------------------------------


def _log_sum(data: bytes, start: tuple[int, int], *, big_endian: bool) -> tuple[int, int]:
    """Return SQLite's checksum of `data`, whose length is a multiple of 8."""
    words = np.frombuffer(data, dtype=">u4" if big_endian else "<u4").astype(np.uint32)
    packed = int(log_sum(read_only(words), *start))
    return packed >> 32, packed & 0xFFFFFFFF


def check_log(path: Path) -> None:
    """Check the write-ahead log of the database at `path`, which nobody has open.

    Raises
    ------
    ArtifactCorruptedError
        If a frame is damaged behind which the log goes on: acknowledged writes would be lost.
    """
    log = path.with_name(path.name + "-wal")
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size <= 32:
        return
    with open(log, "rb") as stream:
        header = stream.read(32)
        problem = _scan_log(stream, header, size)
    if problem:
        raise ArtifactCorruptedError(
            f"{log} is damaged: {problem}; acknowledged writes are in it.",
            hint="Restore the log from a copy, or the collection from a snapshot.",
        )


def _scan_log(stream: Any, header: bytes, size: int) -> str:
    """Return what is wrong with a log, or nothing.

    Frames are checked one by one against the sum that the frame before *stored*, so one bad frame
    does not spoil the rest. What a killed writer leaves behind the last whole write never holds the
    end of another one (its *commit* frame), or only cut short. So it is damage if a good commit
    frame follows a bad one, or if the file ends with a bad commit frame.
    """
    magic, _version, page_size, _sequence, salt1, salt2, sum1, sum2 = struct.unpack(">8I", header)
    big_endian = magic == _LOG_MAGIC[1]
    if magic not in _LOG_MAGIC or _log_sum(header[:24], (0, 0), big_endian=big_endian) != (
        sum1,
        sum2,
    ):
        return "its header differs from its checksum"
    frame_size = 24 + page_size
    before = (sum1, sum2)
    n_frames, rest = divmod(size - 32, frame_size)
    bad_at = -1
    ends_badly = False
    for at in range(n_frames):
        frame = stream.read(frame_size)
        _page, n_pages, of_first, of_second, *stored = struct.unpack(">6I", frame[:24])
        if of_first != salt1 and of_second != salt2:
            # The rest is of an older log; a flipped bit would spoil one salt only.
            return ""
        good = (of_first, of_second) == (salt1, salt2) and tuple(stored) == _log_sum(
            frame[24:], _log_sum(frame[:8], before, big_endian=big_endian), big_endian=big_endian
        )
        is_commit = n_pages > 0
        if good and is_commit and bad_at >= 0:
            return f"frame {bad_at} of {n_frames} differs from its checksum"
        if not good and bad_at < 0:
            bad_at = at
        ends_badly = is_commit and not good
        before = (stored[0], stored[1])
    if ends_badly and rest == 0:
        return f"frame {bad_at} of {n_frames}, in the last write, differs from its checksum"
    return ""
