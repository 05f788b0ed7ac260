"""Downloads and archives: resumed where they broke off, checked, locked, put in place whole."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import urllib.error
import urllib.request
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any

from filelock import FileLock, Timeout

from lsr.core.artifact import replace_folder, storage_errors
from lsr.core.console import progress_bar
from lsr.core.errors import DataError, DownloadError
from lsr.core.files import open_bytes

__all__ = ["download", "locked", "unpack"]

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_TIMEOUT_S = 60.0
_ARCHIVES = (".tar.zst", ".tar.gz", ".tgz", ".tar", ".zip")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`, so that two processes do not fetch the same thing at once."""
    lock_path = path.with_name(f".{path.name}.lock")
    with storage_errors(path, "data set"):
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Another process is fetching %s; waiting for it.", path.name)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def download(url: str, target: Path, *, checksum: str, n_bytes: int | None = None) -> Path:
    """Fetch `url` to `target` and return it; a part that is already there is resumed.

    Parameters
    ----------
    url : str
        Where the file stands.
    target : Path
        Where it goes; meanwhile it grows as ``<target>.part``.
    checksum : str
        ``"md5:…"`` or ``"sha256:…"``; the file is not put in place before it agrees.
    n_bytes : int, optional
        Expected size, for the progress bar.

    Raises
    ------
    DownloadError
        If there is no network, the server refuses, the transfer breaks off, or the checksum
        differs.
    StorageError
        If the disk is full or refuses.
    """
    part = target.with_name(f"{target.name}.part")
    with storage_errors(target, "download"):
        target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in ("resume", "afresh"):
        _transfer(url, part, n_bytes)
        problem = _wrong_checksum(part, checksum)
        if problem is None:
            part.replace(target)
            return target
        part.unlink()
        # A part from an older version of the file spoils the whole: once more from the start.
        logger.warning("%s: %s%s", url, problem, " Fetching afresh." if attempt == "resume" else "")
    raise DownloadError(f"{url}: {problem}", hint="The file there has changed, or is damaged.")


def _transfer(url: str, part: Path, n_bytes: int | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            resumed = response.status == 206
            if have and resumed:
                logger.info("Resuming %s at %.1f MB.", part.name, have / 1e6)
            start = have if resumed else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else n_bytes
            with (
                storage_errors(part, "download"),
                open(part, "ab" if resumed else "wb") as sink,
                progress_bar(f"Fetching {part.stem}", total, unit="bytes") as advance,
            ):
                advance(start)
                while chunk := _read_chunk(response, url):
                    sink.write(chunk)
                    advance(len(chunk))
                written = sink.tell()
            if length and written < start + int(length):
                raise DownloadError(
                    f"{url} broke off after {written} of {start + int(length)} bytes.",
                    hint="Run the command again; it goes on from there.",
                )
    except urllib.error.HTTPError as error:
        # 416: the part is as long as the file, or longer; the checksum decides which.
        if error.code != 416 or not have:
            raise DownloadError(
                f"{url}: the server answered {error.code} {error.reason}."
            ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DownloadError(
            f"{url} cannot be reached: {getattr(error, 'reason', None) or error}.",
            hint="Check the network and run the command again. Without one, fetch the file "
            "elsewhere, unpack it below a folder and name that folder in LSR_DATA.",
        ) from error


def _read_chunk(response: Any, url: str) -> bytes:
    # Apart from writing: an OSError here is the network's, not the disk's.
    try:
        return bytes(response.read(_CHUNK))
    except (OSError, HTTPException) as error:
        raise DownloadError(
            f"{url} broke off: {error}.", hint="Run the command again; it goes on from there."
        ) from error


def _wrong_checksum(path: Path, checksum: str) -> str | None:
    kind, _, expected = checksum.partition(":")
    with open(path, "rb") as stream:
        seen = hashlib.file_digest(stream, kind).hexdigest()
    return None if seen == expected else f"{kind} {seen}, expected {expected}."


def unpack(archive: Path, target: Path, *, overwrite: bool = False) -> Path:
    """Unpack an archive to the folder `target`, which appears only when complete.

    A single folder at the archive's top is taken off. ``.tar.zst``, ``.tar.gz``, ``.tgz``,
    ``.tar`` and ``.zip`` are known.

    Parameters
    ----------
    archive : Path
        The file.
    target : Path
        The new folder.
    overwrite : bool
        Replace a folder that stands there; else it is left and returned as it is.

    Raises
    ------
    DataError
        If the archive is damaged, of an unknown kind, or holds links or paths outside of it.
    StorageError
        If the disk is full or refuses.
    """
    if target.exists() and not overwrite:
        return target
    if not archive.name.endswith(_ARCHIVES):
        raise DataError(
            f"{archive} is no archive of a known kind.", hint=f"Known: {', '.join(_ARCHIVES)}."
        )
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(target, "data set"):
        try:
            temporary.mkdir(parents=True)
            if archive.name.endswith(".zip"):
                _unzip(archive, temporary)
            else:
                _untar(archive, temporary)
            inside = list(temporary.iterdir())
            top = inside[0] if len(inside) == 1 and inside[0].is_dir() else temporary
            replace_folder(top, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _untar(archive: Path, folder: Path) -> None:
    # .tgz is gzip by another name.
    opened = archive.open("rb") if archive.suffix in (".tgz", ".tar") else open_bytes(archive)
    try:
        with opened as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isfile():
                    raise DataError(f"{archive} holds {member.name!r}, which is no plain file.")
                content = tar.extractfile(member)
                assert content is not None  # regular files always have content
                _write_member(archive, folder, member.name, content)
            _drain(stream)
    except tarfile.TarError as error:
        raise DataError(f"{archive} is damaged: {error}.", hint="Fetch it again.") from error


def _drain(stream: IO[bytes]) -> None:
    """Read a stream to its end, where compressed files have their checksum; tar stops before."""
    while stream.read(_CHUNK):
        pass


def _unzip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if not member.is_dir():
                    _write_member(archive, folder, member.filename, packed.open(member))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged: {error}.", hint="Fetch it again.") from error


def _write_member(archive: Path, folder: Path, name: str, source: IO[bytes]) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0].endswith(("/", ":")):
        raise DataError(f"{archive} holds the path {name!r}, which leads out of it.")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)
