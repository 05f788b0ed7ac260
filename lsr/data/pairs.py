"""Training pairs: a query and a passage that answers it, from files, folders and archives.

A line is ``{"query": …, "positive": …, "source": …}``; without ``source``, the file's name is it.
A folder stands for all its ``.jsonl`` files, an archive (``.tar.zst``, ``.tar.gz``, ``.tar``) for
all of them inside, read without unpacking.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lsr.core.errors import DataError
from lsr.core.files import open_bytes, strip_compression
from lsr.data.bad_lines import BadLines, decode_lines, parse_lines, read_records
from lsr.data.fields import parse_object

__all__ = ["Pair", "pair_files", "read_pairs"]

_TARS = (".tar.zst", ".tar.gz", ".tar")


class Pair(NamedTuple):
    """A query, a passage that answers it, and where the two come from."""

    query: str
    positive: str
    source: str


def read_pairs(
    paths: Iterable[Path], *, exclude: Collection[str] = (), bad: BadLines | None = None
) -> Iterator[Pair]:
    """Yield the pairs of files, folders and archives, in the order of their names.

    Parameters
    ----------
    paths : iterable of Path
        ``.jsonl`` files (plain, ``.gz``, ``.zst``), folders or tar archives of them.
    exclude : collection of str
        Sources that are left out; a file of such a name is not even read.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    DataError
        If a path is missing, damaged, or holds no ``.jsonl`` file.
    RecordError
        If a line is no pair of texts, beyond the budget of `bad`.
    """
    bad = bad or BadLines()
    for file in pair_files(paths):
        if file.name.endswith(_TARS):
            yield from _read_archive(file, exclude, bad)
        elif _stem(file.name) not in exclude:
            yield from _kept(read_records(file, _parser(_stem(file.name)), bad), exclude)


def pair_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that `read_pairs` reads: folders stand for their ``.jsonl`` files.

    Raises
    ------
    DataError
        If a path is missing, or a folder holds no such file.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = [path]
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if strip_compression(p).endswith(".jsonl"))
        elif not path.exists():
            raise DataError(f"No training pairs at {path}.", hint="Check the path.")
        if not found:
            raise DataError(f"No .jsonl file in the folder {path}.", hint="Check the path.")
        files += found
    return files


def _read_archive(path: Path, exclude: Collection[str], bad: BadLines) -> Iterator[Pair]:
    n_files = 0
    try:
        with open_bytes(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if not member.isfile() or not name.endswith(".jsonl"):
                    continue
                n_files += 1
                if _stem(name) in exclude:
                    continue
                content = tar.extractfile(member)
                assert content is not None  # regular files always have content
                label = f"{path}:{member.name}"
                lines = decode_lines(content, label, bad)
                yield from _kept(parse_lines(lines, _parser(_stem(name)), label, bad), exclude)
            # The checksum of the compression comes last, behind what tar reads.
            while stream.read(1 << 18):
                pass
    except tarfile.TarError as error:
        raise DataError(f"{path} is damaged: {error}.", hint="Fetch it again.") from error
    if not n_files:
        raise DataError(f"No .jsonl file in the archive {path}.", hint="Check the path.")


def _stem(name: str) -> str:
    return name.split(".")[0]


def _kept(pairs: Iterable[Pair], exclude: Collection[str]) -> Iterator[Pair]:
    return (pair for pair in pairs if pair.source not in exclude)


def _parser(default_source: str) -> Callable[[str], Pair]:
    def parse(line: str) -> Pair:
        record = parse_object(line)
        texts = []
        for field in ("query", "positive"):
            value = record.get(field)
            if not isinstance(value, str) or not value.strip():
                problem = "is missing" if field not in record else "must be a text, not empty"
                raise DataError(
                    f"The field {field!r} {problem}.",
                    hint='A pair is {"query": …, "positive": …, "source": …}.',
                )
            texts.append(value)
        source = record.get("source", default_source)
        if not isinstance(source, str) or not source:
            raise DataError('The field "source" must be a name.')
        return Pair(texts[0], texts[1], source)

    return parse
