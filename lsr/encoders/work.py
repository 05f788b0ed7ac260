"""The work folder of a long encoding: finished shards and what they were made of.

::

    OUT.partial/
      state.json             what decides the vectors: encoder, config, shard size
      shard-00000/           the arrays of the final collection, and shard.json

A shard appears under its name by one rename after every file was fsynced, so that a process
killed at any moment loses the shard it was working on and nothing else. Each shard remembers a
hash of the documents it was made of; a second run reads the corpus again from its beginning and
checks them, so that a changed corpus cannot be mixed with an old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lsr.core.artifact import (
    ArtifactWriter,
    replace_folder,
    storage_errors,
    sync,
    write_text_atomic,
)
from lsr.core.errors import ArtifactCorruptedError, ArtifactError, DataError
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix
from lsr.data.vectors import write_shard

__all__ = ["ShardRecord", "WorkFolder", "documents_hash"]

_STATE = "state.json"
_RECORD = "shard.json"


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One finished shard.

    Attributes
    ----------
    documents_sha256 : str
        Hash of ids and texts, in order.
    n_documents, nnz, n_empty : int
        Rows, stored weights, rows without any weight.
    seconds : float
        Time spent encoding, without reading and writing.
    """

    documents_sha256: str
    n_documents: int
    nnz: int
    n_empty: int
    seconds: float


def documents_hash(documents: Sequence[Document]) -> str:
    """Return the SHA-256 of the ids and contents, each with its length."""
    digest = hashlib.sha256()
    for document in documents:
        for part in (document.doc_id, document.content):
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    return digest.hexdigest()


class WorkFolder:
    """The finished shards beside a target, made by `WorkFolder.open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def open(
        cls, target: Path, key: Mapping[str, Any], *, restart: bool = False
    ) -> Iterator[WorkFolder]:
        """Open or make the work folder of `target`, for this process alone.

        Parameters
        ----------
        target : Path
            Where the collection will stand.
        key : mapping
            All that decides the vectors; JSON values.
        restart : bool
            Throw away what an earlier run left.

        Raises
        ------
        ArtifactError
            If an earlier run left shards made otherwise, or another process works on them.
        """
        path = target.with_name(target.name + ".partial")
        with storage_errors(path, "shards"):
            path.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if restart:
                for inner in path.iterdir():
                    if inner.is_dir():
                        shutil.rmtree(inner)
                (path / _STATE).unlink(missing_ok=True)
            _check_key(path, dict(key))
            yield cls(path)

    def record(self, number: int) -> ShardRecord | None:
        """Return what shard `number` is, or None if it is not finished."""
        file = self._shard(number) / _RECORD
        try:
            return ShardRecord(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ArtifactCorruptedError(
                f"{file} cannot be read: {error}.", hint="Run again with --restart."
            ) from error

    def n_finished(self) -> int:
        """Return how many shards are finished, counted from the first."""
        number = 0
        while (self._shard(number) / _RECORD).exists():
            number += 1
        return number

    def add(
        self,
        number: int,
        matrix: SparseMatrix,
        doc_ids: Sequence[str],
        record: ShardRecord,
        *,
        origins: Sequence[bytes] | None = None,
    ) -> None:
        """Write one shard; it is there whole, or not at all."""
        temporary = self.path / "writing"
        shutil.rmtree(temporary, ignore_errors=True)
        with storage_errors(temporary, "a shard"):
            temporary.mkdir()
            name = write_shard(ArtifactWriter(temporary), number, matrix, doc_ids, origins)
            (temporary / name / _RECORD).write_text(json.dumps(asdict(record)), encoding="utf-8")
            for file in (temporary / name).iterdir():
                sync(file)
            sync(temporary / name)
            replace_folder(temporary / name, self.path / name)
            temporary.rmdir()

    def move_into(self, writer: ArtifactWriter, number: int) -> str:
        """Put shard `number` into an open artefact and return its name.

        Files are hard-linked where the file system can, so that an interruption of the last step
        loses nothing and no bytes are copied.
        """
        source = self._shard(number)
        target = writer.path / source.name
        target.mkdir()
        for file in source.iterdir():
            if file.name == _RECORD:
                continue
            try:
                os.link(file, target / file.name)
            except OSError:
                shutil.copyfile(file, target / file.name)
        return source.name

    def remove(self) -> None:
        """Delete the work folder; the collection stands."""
        shutil.rmtree(self.path, ignore_errors=True)

    def check_documents(self, number: int, documents: Sequence[Document]) -> ShardRecord | None:
        """Return the record of shard `number` if it was made of these documents, None if unmade.

        Raises
        ------
        DataError
            If it was made of others.
        """
        record = self.record(number)
        if record is not None and record.documents_sha256 != documents_hash(documents):
            raise DataError(
                f"The corpus changed since the encoding that {self.path} continues: shard "
                f"{number} was made of other documents.",
                hint="Pass --restart to encode everything again.",
            )
        return record

    def _shard(self, number: int) -> Path:
        return self.path / f"shard-{number:05d}"


def _check_key(path: Path, key: dict[str, Any]) -> None:
    file = path / _STATE
    if not file.exists():
        write_text_atomic(file, json.dumps(key, indent=1, sort_keys=True) + "\n")
        return
    try:
        seen = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ArtifactCorruptedError(
            f"{file} cannot be read: {error}.", hint="Run again with --restart."
        ) from error
    key = json.loads(json.dumps(key))
    changed = [k for k in sorted({*key, *seen}) if key.get(k) != seen.get(k)]
    if changed:
        lines = [f"{k}: was {seen.get(k)!r}, now {key.get(k)!r}" for k in changed]
        raise ArtifactError(
            f"{path} holds shards that were encoded otherwise:\n  " + "\n  ".join(lines),
            hint="Run with the old values to finish it, or with --restart to begin again.",
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows has no such lock; there the user sees to it.
        yield
        return
    with open(path / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(
                f"Another process is encoding into {path}.", hint="Wait for it, or stop it."
            ) from None
        yield
