"""An artefact is a directory: arrays that can be memory-mapped, other files, ``manifest.json``.

It is written beside its place, every file fsynced, then renamed, so that a reader sees the old
one, the new one, or none: never a half. Opening checks format, presence and size of every file
(no file is read whole, so it takes milliseconds); `verify` reads everything and checks SHA-256.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lsr.core.errors import (
    ArtifactCorruptedError,
    ArtifactExistsError,
    ArtifactFormatError,
    ArtifactNotFoundError,
    StorageError,
)
from lsr.core.manifest import FileEntry, Manifest

__all__ = [
    "MANIFEST_NAME",
    "ArtifactWriter",
    "check_artifact",
    "file_digest",
    "open_array",
    "read_manifest",
    "replace_folder",
    "storage_errors",
    "sync",
    "verify_artifact",
    "write_artifact",
    "write_bytes_atomic",
    "write_text_atomic",
]

MANIFEST_NAME = "manifest.json"


@contextmanager
def storage_errors(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that says what to do."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise
    except OSError as error:
        hint = "Check the path and its permissions."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "The disk is full: free some space and run the command again."
        raise StorageError(
            f"Cannot write {what} at {path}: {error.strerror or error}.", hint=hint
        ) from error


def sync(path: Path) -> None:
    """Make a file, or the entries of a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class ArtifactWriter:
    """The open folder of an artefact that is being written; made by `write_artifact`.

    Attributes
    ----------
    path : Path
        The temporary folder. Files may be written into it freely; all of them are listed in
        the manifest when the block ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write `array` to ``<name>.npy`` in C order."""
        target = self.path / f"{name}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.ascontiguousarray(array), allow_pickle=False)

    def create_array(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        """Return a writable memory map of the new file ``<name>.npy``; flush it when done."""
        target = self.path / f"{name}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(target, mode="w+", dtype=np.dtype(dtype), shape=shape)

    def text(self, name: str, content: str) -> None:
        """Write a UTF-8 text file."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")

    def copy_tree(self, name: str, source: Path) -> None:
        """Copy the folder `source` to ``<name>/``."""
        shutil.copytree(source, self.path / name)

    def finish(self, manifest: Manifest) -> Manifest:
        """List and fsync every file, write the manifest last; return it as written."""
        files: dict[str, FileEntry] = {}
        for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
            name = file.relative_to(self.path).as_posix()
            if name == MANIFEST_NAME:
                continue
            dtype: str | None = None
            shape: tuple[int, ...] | None = None
            if file.suffix == ".npy":
                header = np.load(file, mmap_mode="r", allow_pickle=False)
                dtype, shape = header.dtype.str, tuple(int(n) for n in header.shape)
            files[name] = FileEntry(
                bytes=file.stat().st_size, sha256=file_digest(file), dtype=dtype, shape=shape
            )
            sync(file)
        written = manifest.model_copy(update={"files": files})
        target = self.path / MANIFEST_NAME
        target.write_text(written.model_dump_json(indent=1) + "\n", encoding="utf-8")
        sync(target)
        for folder in (self.path, *(p for p in self.path.rglob("*") if p.is_dir())):
            sync(folder)
        return written


@contextmanager
def write_artifact(path: Path, manifest: Manifest, *, overwrite: bool) -> Iterator[ArtifactWriter]:
    """Write an artefact atomically.

    The body fills the writer's folder; on success the folder takes `path`, on any error it is
    removed and what stood at `path` still stands.

    Parameters
    ----------
    path : Path
        The artefact's folder.
    manifest : Manifest
        Without its file list, which is made at the end.
    overwrite : bool
        Replace what stands at `path`.

    Raises
    ------
    ArtifactExistsError
        If `path` exists and `overwrite` is off.
    StorageError
        If the disk is full or refuses.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ArtifactExistsError(
            f"{path} exists already.", hint="Choose another path, or pass --overwrite."
        )
    foreign = path.exists() and not (path / MANIFEST_NAME).exists()
    if foreign and not (path.is_dir() and not any(path.iterdir())):
        raise ArtifactExistsError(
            f"{path} holds something that lsr did not write.",
            hint="Choose another path; lsr does not delete what it does not know.",
        )
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(path, manifest.kind):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            writer = ArtifactWriter(temporary)
            yield writer
            writer.finish(manifest)
            replace_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; an old `target` is moved aside first and then removed."""
    aside = None
    if target.exists():
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        target.rename(aside)
    source.rename(target)
    sync(target.parent)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def write_text_atomic(path: Path, content: str) -> None:
    """Write a text file beside its place, fsync, rename."""
    write_bytes_atomic(path, content.encode("utf-8"))


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file beside its place, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(path, "file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def read_manifest(path: Path, *, kind: str, format_version: int) -> Manifest:
    """Return the manifest of the artefact at `path`.

    Raises
    ------
    ArtifactNotFoundError
        If there is no artefact.
    ArtifactFormatError
        If it is of another kind or of a format version this release does not read.
    ArtifactCorruptedError
        If the manifest cannot be parsed.
    """
    path = Path(path)
    file = path / MANIFEST_NAME
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        seen = "there is no such folder" if not path.exists() else f"it has no {MANIFEST_NAME}"
        raise ArtifactNotFoundError(
            f"No {kind} at {path}: {seen}.", hint="Check the path."
        ) from None
    except ValueError as error:
        raise ArtifactCorruptedError(
            f"{file} is not JSON: {error}.", hint="Build the artefact again."
        ) from error
    if not isinstance(raw, dict) or raw.get("kind") != kind:
        found = raw.get("kind") if isinstance(raw, dict) else type(raw).__name__
        raise ArtifactFormatError(
            f"{path} holds {found!r}, not {kind!r}.", hint="Check which folder you passed."
        )
    if raw.get("format_version") != format_version:
        raise ArtifactFormatError(
            f"{path} is {kind} format {raw.get('format_version')!r}; this release reads "
            f"{format_version}.",
            hint="Build it again with this release, or use the release that wrote it "
            f"({raw.get('lsr_version', 'unknown')}).",
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise ArtifactCorruptedError(
            f"{file} is not a manifest: {error}", hint="Build the artefact again."
        ) from error


def check_artifact(path: Path, manifest: Manifest) -> None:
    """Check that every listed file is there and has its size.

    Raises
    ------
    ArtifactCorruptedError
        Naming the first file that is missing or has another size.
    """
    for name, entry in manifest.files.items():
        try:
            size = (path / name).stat().st_size
        except FileNotFoundError:
            raise ArtifactCorruptedError(
                f"{path / name} is missing.", hint="Restore it from a copy or build again."
            ) from None
        if size != entry.bytes:
            raise ArtifactCorruptedError(
                f"{path / name} has {size} bytes, the manifest says {entry.bytes}: "
                f"it was {'truncated' if size < entry.bytes else 'changed'}.",
                hint="Restore it from a copy or build again.",
            )


def verify_artifact(path: Path, manifest: Manifest) -> list[str]:
    """Return one line for every file that is missing, or differs in size or checksum."""
    problems = []
    for name, entry in manifest.files.items():
        file = path / name
        if not file.is_file():
            problems.append(f"{name}: missing")
        elif file.stat().st_size != entry.bytes:
            problems.append(f"{name}: {file.stat().st_size} bytes, expected {entry.bytes}")
        elif file_digest(file) != entry.sha256:
            problems.append(f"{name}: checksum differs")
    return problems


def open_array(path: Path, name: str, manifest: Manifest) -> NDArray[Any]:
    """Return the read-only memory map of ``<name>.npy``, checked against the manifest.

    Raises
    ------
    ArtifactCorruptedError
        If the array is not listed, or dtype or shape differ from the manifest.
    """
    entry = manifest.files.get(f"{name}.npy")
    file = path / f"{name}.npy"
    if entry is None:
        raise ArtifactCorruptedError(f"The manifest of {path} lists no array {name!r}.")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactCorruptedError(
            f"{file} cannot be read: {error}.", hint="Restore it from a copy or build again."
        ) from error
    if array.dtype.str != entry.dtype or tuple(array.shape) != entry.shape:
        raise ArtifactCorruptedError(
            f"{file} holds {array.dtype.str}{array.shape}, the manifest says "
            f"{entry.dtype}{entry.shape}.",
            hint="Restore it from a copy or build again.",
        )
    # A plain read-only ndarray: numba compiles np.memmap's subclass apart from it.
    plain: NDArray[Any] = array.view(np.ndarray)
    return plain
