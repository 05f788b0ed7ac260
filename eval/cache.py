"""What was computed once is not computed again: artefacts by the hash of what decides them.

Below the cache's folder: ``vectors/`` (encoded collections), ``indexes/``, ``dense/``
(embeddings), ``lucene/``, ``runs/``. Each entry is named by a hash over texts, encoder,
configuration and depth; another text or another weight is another entry, so nothing is ever
stale, and an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.results import Efficiency, Truncation
from eval.runs import RunTable
from lsr.core.artifact import check_artifact, open_array, read_manifest, write_artifact
from lsr.core.manifest import Manifest
from lsr.core.records import Document, Query
from lsr.core.strings import StringTable

__all__ = ["RUN_FORMAT", "Cache", "Ran", "content_hash", "folder_hash", "run_hash", "texts_hash"]

RUN_FORMAT = 3


class Ran(NamedTuple):
    """What searching a collection gave.

    Attributes
    ----------
    notes : tuple of str
        What a reader of the figures must know.
    """

    run: RunTable
    efficiency: Efficiency = Efficiency()
    truncation: Truncation = Truncation()
    notes: tuple[str, ...] = ()


def content_hash(parts: Mapping[str, Any]) -> str:
    """Return 24 hexadecimal digits over plain data, the same in every process."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def texts_hash(
    items: Iterable[Document] | Iterable[Query], advance: Callable[[int], None] | None = None
) -> str:
    """Return a hash over ids and texts, in their order."""
    digest = hashlib.sha256()
    for item in items:
        fields = (
            (item.doc_id, item.title, item.text)
            if isinstance(item, Document)
            else (item.query_id, item.text)
        )
        for field in fields:
            raw = field.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
        if advance is not None:
            advance(1)
    return digest.hexdigest()[:24]


def run_hash(run: RunTable) -> str:
    """Return a hash over the documents of a run in their order; scores do not count."""
    digest = hashlib.sha256()
    for query_id in run.query_ids:
        for name in (query_id, *run.results(query_id)[0]):
            digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\n")
    return digest.hexdigest()[:24]


def folder_hash(path: Path) -> str:
    """Return a hash over the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode())
        digest.update(file.stat().st_size.to_bytes(8, "little"))
        with open(file, "rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()[:24]


class Cache:
    """A folder of artefacts by content hash.

    Parameters
    ----------
    root : Path
        Made when first written to.
    fresh : bool
        Runs are not read from it, only written: everything is searched and timed anew. Vectors
        and indexes are still used.
    """

    def __init__(self, root: Path, *, fresh: bool = False) -> None:
        self.root = Path(root)
        self._fresh = fresh

    def folder(self, kind: str, key: str) -> Path:
        """Return where an entry stands, or will."""
        path = self.root / kind
        path.mkdir(parents=True, exist_ok=True)
        return path / key

    def load_run(self, key: str) -> Ran | None:
        """Return a run with its costs, or None if it is not there.

        Raises
        ------
        ArtifactCorruptedError
            If the entry is damaged.
        """
        path = self.folder("runs", key)
        if self._fresh or not path.exists():
            return None
        manifest = read_manifest(path, kind="run", format_version=RUN_FORMAT)
        check_artifact(path, manifest)
        query_ids = list(StringTable.open(path, "query_ids", manifest))
        ends = open_array(path, "ends", manifest).tolist()
        rows, scores = (open_array(path, name, manifest) for name in ("rows", "scores"))
        parts = list(zip(query_ids, [0, *ends], ends, strict=False))
        run = RunTable(
            list(StringTable.open(path, "doc_ids", manifest)),
            {query_id: rows[start:end] for query_id, start, end in parts},
            {query_id: scores[start:end] for query_id, start, end in parts},
        )
        return Ran(
            run,
            Efficiency.model_validate(manifest.details["efficiency"]),
            Truncation.model_validate(manifest.details["truncation"]),
            tuple(manifest.details["notes"]),
        )

    def save_run(self, key: str, ran: Ran, config: dict[str, Any]) -> None:
        """Write a run with its costs."""
        manifest = Manifest.new(
            "run",
            RUN_FORMAT,
            config=config,
            config_hash=key,
            details={
                "efficiency": ran.efficiency.model_dump(mode="json"),
                "truncation": ran.truncation.model_dump(mode="json"),
                "notes": list(ran.notes),
            },
        )
        with write_artifact(self.folder("runs", key), manifest, overwrite=True) as writer:
            # As arrays: a million lines of text would take longer to read than to find again.
            run = ran.run
            found = [run.rows(query_id) for query_id in run.query_ids]
            StringTable.from_strings(list(run.doc_ids)).write(writer, "doc_ids")
            StringTable.from_strings(run.query_ids).write(writer, "query_ids")
            writer.array("ends", np.cumsum([len(rows) for rows, _ in found], dtype=np.int64))
            for name, at in (("rows", 0), ("scores", 1)):
                writer.array(name, np.concatenate([pair[at] for pair in found]))
