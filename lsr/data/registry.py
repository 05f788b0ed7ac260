"""From a name to a data set: what ships, what stands on this machine, what can be fetched.

A name is looked for in this order: the shipped collection; the folders of ``LSR_DATA``; what
`fetch_dataset` put below ``LSR_HOME``; archives in the folders of ``LSR_DATA``; a path; an
identifier of ir_datasets. Write ``./name`` for a folder that has a known name, and ``irds:ID`` to
mean ir_datasets at once. Archives are unpacked on first use; nothing is downloaded unasked
(except by ir_datasets, whose way that is).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from lsr.core.errors import ConfigError, DatasetNotFoundError, near_names
from lsr.core.files import strip_compression
from lsr.core.settings import get_settings
from lsr.data.bad_lines import BadLines
from lsr.data.base import Dataset, first_present
from lsr.data.beir import BeirDataset
from lsr.data.catalogue import CATALOGUE
from lsr.data.fields import BEIR_FIELDS, FieldMap
from lsr.data.irds import IrdsDataset, is_irds_id
from lsr.data.jsonl import JsonlDataset
from lsr.data.msmarco import MsMarcoDataset, TsvDataset
from lsr.data.toy import TOY_NAME, load_toy

__all__ = ["DatasetEntry", "fetch_dataset", "list_datasets", "load_dataset"]

logger = logging.getLogger(__name__)

_IRDS_PREFIX = "irds:"
_ARCHIVE_SUFFIXES = (".tar.zst", ".tar.gz", ".tgz", ".zip")
_FILE_SUFFIXES = (".jsonl", ".tsv")


class DatasetEntry(NamedTuple):
    """One known name.

    Attributes
    ----------
    name : str
        What `load_dataset` takes.
    status : {"shipped", "ready", "archive", "online"}
        Usable as it is (the first two), to be unpacked, or to be downloaded by `fetch_dataset`.
    source : str
        Path or URL.
    about : str
        One line, may be empty.
    """

    name: str
    status: Literal["shipped", "ready", "archive", "online"]
    source: str
    about: str


def datasets_folder() -> Path:
    """Return where fetched collections stand."""
    return get_settings().home / "datasets"


def load_dataset(
    name: str | Path, *, fields: FieldMap = BEIR_FIELDS, bad_lines: BadLines | None = None
) -> Dataset:
    """Return the data set of a name, a path or an ir_datasets identifier.

    Parameters
    ----------
    name : str or Path
        A name of `list_datasets`; a folder in BEIR's layout or with MS MARCO's files, or an
        archive of one; a file of documents (``.jsonl`` or ``.tsv``, may be compressed); or an
        ir_datasets id, with or without ``irds:`` before it.
    fields : FieldMap
        What the fields of JSON documents mean.
    bad_lines : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    DatasetNotFoundError
        If there is no such data set here; the message says how to get it if it is known.
    ConfigError
        If `fields` is given for a source that has fields of its own.
    """
    text = str(name)
    if text.startswith(_IRDS_PREFIX):
        _require_default_fields(fields, text)
        return IrdsDataset(text[len(_IRDS_PREFIX) :])
    if text == TOY_NAME:
        _require_default_fields(fields, text)
        return load_toy()
    spelled_as_path = isinstance(name, Path) or text.startswith((".", "/", "~"))
    if not spelled_as_path:
        for root in (*get_settings().data, datasets_folder()):
            found = _at(root / text)
            if found is not None:
                return _open(found, text, fields, bad_lines)
        # A folder of several collections: the error names them.
        if text in CATALOGUE and (datasets_folder() / text).is_dir():
            return _open(datasets_folder() / text, text, fields, bad_lines)
        if _archive_named(text) is not None:
            return _open(fetch_dataset(text), text, fields, bad_lines)
    path = Path(text).expanduser()
    if path.exists():
        return _open(path, None, fields, bad_lines)
    if not spelled_as_path and is_irds_id(text):
        _require_default_fields(fields, text)
        return IrdsDataset(text)
    raise _not_found(text)


def _require_default_fields(fields: FieldMap, name: str) -> None:
    if fields != BEIR_FIELDS:
        raise ConfigError(
            f"The data set {name!r} has fields of its own.",
            hint="A field map is for JSONL files and folders of them.",
        )


def _at(path: Path) -> Path | None:
    """Return the folder `path` if it holds a collection, else a file of documents of that name."""
    if path.is_dir() and first_present(path, "corpus.jsonl", "collection.tsv"):
        return path
    if path.parent.is_dir():
        return first_present(path.parent, *(f"{path.name}{suffix}" for suffix in _FILE_SUFFIXES))
    return None


def _open(path: Path, name: str | None, fields: FieldMap, bad: BadLines | None) -> Dataset:
    if path.is_dir():
        if first_present(path, "corpus.jsonl"):
            return BeirDataset(path, name=name, fields=fields, bad=bad)
        if first_present(path, "collection.tsv"):
            _require_default_fields(fields, str(path))
            return MsMarcoDataset(path, name=name, bad=bad)
        inside = _inside(path)
        hint = f"It holds the collections {', '.join(inside)}: name one." if inside else ""
        raise DatasetNotFoundError(
            f"The folder {path} has neither corpus.jsonl nor collection.tsv (plain, .zst or .gz).",
            hint=hint,
        )
    plain = strip_compression(path)
    if plain.endswith(".tsv"):
        _require_default_fields(fields, str(path))
        return TsvDataset(path, bad=bad)
    if plain.endswith((".jsonl", ".ndjson", ".json")):
        return JsonlDataset(path, fields=fields, bad=bad)
    if path.name.endswith(_ARCHIVE_SUFFIXES):
        return _open(_unpacked(path), name or _archive_stem(path), fields, bad)
    raise DatasetNotFoundError(
        f"{path} is no file of documents.",
        hint="Documents stand in .jsonl or .tsv files, plain, .gz or .zst.",
    )


def _archive_stem(path: Path) -> str:
    suffix = next(suffix for suffix in _ARCHIVE_SUFFIXES if path.name.endswith(suffix))
    return path.name.removesuffix(suffix)


def _unpacked(archive: Path) -> Path:
    """Return the folder below ``LSR_HOME`` with the content of an archive, unpacked if new."""
    from lsr.data.fetch import locked, unpack

    state = archive.stat()
    # A changed archive is another one: its size and time are part of the folder's name.
    key = f"{archive.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    target = get_settings().home / "unpacked" / f"{_archive_stem(archive)}-{digest}"
    if not target.exists():
        with locked(target):
            logger.info("Unpacking %s to %s", archive, target)
            unpack(archive, target)
    return target


def _not_found(name: str) -> DatasetNotFoundError:
    known = list_datasets()
    if any(entry.name == name for entry in known):
        return DatasetNotFoundError(
            f"The data set {name!r} is known but not on this machine.",
            hint=f"Get it with: lsr data get {name}",
        )
    near = near_names(name, [entry.name for entry in known])
    return DatasetNotFoundError(
        f"No data set {name!r}: it is no known name, no path, and no id that ir_datasets knows."
        f"{near}",
        hint="See the names with: lsr data list",
    )


def list_datasets() -> list[DatasetEntry]:
    """Return every known name, sorted; one on this machine hides one that can be fetched."""
    entries: dict[str, DatasetEntry] = {
        TOY_NAME: DatasetEntry(
            TOY_NAME, "shipped", "in this package", "2,067 Wikipedia paragraphs, SQuAD questions"
        )
    }
    # First found, first named: the order in which load_dataset looks.
    for root in (*get_settings().data, datasets_folder()):
        for name, path in _collections(root):
            about = CATALOGUE[name].about if name in CATALOGUE else ""
            entries.setdefault(name, DatasetEntry(name, "ready", str(path), about))
    for root in get_settings().data:
        for name, path in _archives(root):
            entries.setdefault(name, DatasetEntry(name, "archive", str(path), ""))
    for name, public in CATALOGUE.items():
        several = datasets_folder() / name
        if several.is_dir():
            entries.setdefault(name, DatasetEntry(name, "ready", str(several), public.about))
        entries.setdefault(name, DatasetEntry(name, "online", public.url, public.about))
    return [entries[name] for name in sorted(entries)]


def _collections(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if _at(path) == path:
                yield path.name, path
            else:
                yield from ((f"{path.name}/{inner}", path / inner) for inner in _inside(path))
        elif strip_compression(path).endswith(_FILE_SUFFIXES):
            yield Path(strip_compression(path)).stem, path


def _inside(folder: Path) -> list[str]:
    """Return the names of the collections in a folder of several, such as CQADupStack's."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and _at(p) == p)


def _archives(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.endswith(_ARCHIVE_SUFFIXES) and path.is_file():
            yield _archive_stem(path), path


def _archive_named(name: str) -> Path | None:
    known = ((n, path) for root in get_settings().data for n, path in _archives(root))
    return next((path for n, path in known if n == name), None)


def fetch_dataset(name: str, *, overwrite: bool = False) -> Path:
    """Bring a known collection onto this machine and return its folder.

    An archive ``NAME.tar.zst`` (``.tar.gz``, ``.zip``) in a folder of ``LSR_DATA`` is unpacked;
    else the published archive is downloaded, checked and unpacked. Either way the collection
    stands below ``LSR_HOME`` when it is complete.

    Parameters
    ----------
    name : str
        A name of `list_datasets`.
    overwrite : bool
        Fetch again what is already there.

    Raises
    ------
    DatasetNotFoundError
        If nothing is known under this name.
    DownloadError
        If it cannot be fetched, or is not what was expected.
    StorageError
        If the disk is full or refuses.
    """
    from lsr.data.fetch import download, locked, unpack

    entry = next((e for e in list_datasets() if e.name == name), None)
    if entry is None:
        raise _not_found(name)
    if entry.status == "shipped":
        return load_toy().folder
    target = datasets_folder() / name
    archive = next(
        (p for root in get_settings().data for n, p in _archives(root) if n == name), None
    )
    if entry.status == "ready" and (not overwrite or (archive is None and name not in CATALOGUE)):
        return Path(entry.source)
    with locked(target):
        if archive is not None:
            return unpack(archive, target, overwrite=overwrite)
        if target.exists() and not overwrite:
            return target
        public = CATALOGUE[name]
        downloads = get_settings().home / "downloads"
        fetched = download(
            public.url,
            downloads / public.url.rsplit("/", 1)[1],
            checksum=public.checksum,
            n_bytes=public.n_bytes,
        )
        unpack(fetched, target, overwrite=overwrite)
        # The archive would only double the space; the collection is complete.
        fetched.unlink()
        return target
