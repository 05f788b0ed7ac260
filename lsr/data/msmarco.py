"""MS MARCO's files of tabs: ``collection.tsv``, ``queries.SPLIT.tsv``, ``qrels.SPLIT.tsv``.

A line of the collection is ``pid  passage``, or ``docid  url  title  body`` for the documents
corpus; a line of queries is ``qid  text``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.core.errors import DataError, DatasetNotFoundError
from lsr.core.files import strip_compression
from lsr.core.records import Document, Qrel, Query
from lsr.data.bad_lines import BadLines
from lsr.data.base import ALL_QUERIES, Dataset, UnjudgedDataset, first_present
from lsr.data.fields import parse_id
from lsr.data.jsonl import count_lines, unique_documents, unique_queries
from lsr.data.qrels import read_any_qrels

__all__ = ["MsMarcoDataset", "TsvDataset", "read_tsv_documents", "read_tsv_queries"]


def _parse_document(line: str) -> Document:
    parts = line.split("\t")
    doc_id = parse_id(parts[0], "The document id (column 1)")
    if len(parts) == 2:
        return Document(doc_id, parts[1])
    if len(parts) == 4:
        return Document(doc_id, parts[3], parts[2], {"url": parts[1]})
    raise DataError(
        f"{len(parts)} columns, expected 2 (id, text) or 4 (id, url, title, text), "
        "separated by tabs."
    )


def _parse_query(line: str) -> Query:
    parts = line.split("\t")
    if len(parts) != 2:
        raise DataError(f"{len(parts)} columns, expected 2 (id, text), separated by a tab.")
    query_id = parse_id(parts[0], "The query id (column 1)")
    if not parts[1].strip():
        raise DataError(f"The query {query_id!r} has no text.")
    return Query(query_id, parts[1])


def read_tsv_documents(path: Path, *, bad: BadLines | None = None) -> Iterator[Document]:
    """Yield the documents of a file of tabs.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line has neither 2 nor 4 columns, or repeats an id, beyond the budget of `bad`.
    """
    return unique_documents(path, _parse_document, bad)


def read_tsv_queries(path: Path, *, bad: BadLines | None = None) -> Iterator[Query]:
    """Yield the queries of a file of tabs.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    RecordError
        If a line has not 2 columns, no text, or repeats an id, beyond the budget of `bad`.
    """
    return unique_queries(path, _parse_query, bad)


class TsvDataset(UnjudgedDataset):
    """A collection of one file of tabs, without queries.

    Parameters
    ----------
    path : Path
        The file, plain, ``.gz`` or ``.zst``.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.
    """

    def __init__(self, path: Path, *, bad: BadLines | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.name.split(".")[0]
        self._bad = bad

    def documents(self) -> Iterator[Document]:
        """Yield the documents in file order."""
        return read_tsv_documents(self.path, bad=self._bad)

    def n_documents(self) -> int | None:
        """Return the number of lines of a plain file of moderate size, else None."""
        return count_lines(self.path)


class MsMarcoDataset(Dataset):
    """A folder with MS MARCO's file names.

    The split of ``qrels.dev.small.tsv`` and ``queries.dev.small.tsv`` is ``"dev.small"``;
    ``qrels.tsv`` is the split ``"test"``, and ``queries.tsv`` serves every split without a file
    of its own.

    Parameters
    ----------
    folder : Path
        Holds at least ``collection.tsv``.
    name : str, optional
        Default: the folder's name.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    DatasetNotFoundError
        If the folder has no collection.
    """

    def __init__(
        self, folder: Path, *, name: str | None = None, bad: BadLines | None = None
    ) -> None:
        self.folder = Path(folder)
        collection = first_present(self.folder, "collection.tsv")
        if collection is None:
            raise DatasetNotFoundError(
                f"No collection.tsv (plain, .zst or .gz) in {self.folder}.", hint="Check the path."
            )
        self.collection_path = collection
        self.name = name or self.folder.resolve().name
        self._bad = bad

    def documents(self) -> Iterator[Document]:
        """Yield the passages in file order."""
        return read_tsv_documents(self.collection_path, bad=self._bad)

    def n_documents(self) -> int | None:
        """Return the number of lines of a plain file of moderate size, else None."""
        return count_lines(self.collection_path)

    def splits(self) -> list[str]:
        """Return the splits that have judgements, sorted."""
        return sorted(self._files("qrels"))

    def queries(self, split: str = "test") -> Iterator[Query]:
        """Yield the queries that `split` judges, in file order; ``"all"`` yields all files'."""
        files = self._files("queries")
        if split == ALL_QUERIES:
            for path in files.values():
                yield from read_tsv_queries(path, bad=self._bad)
            return
        judged = {qrel.query_id for qrel in self.qrels(split)}
        source = files.get(split, files.get("test"))
        if source is None:
            raise DataError(f"The data set {self.name!r} has no queries.{split}.tsv.")
        for query in read_tsv_queries(source, bad=self._bad):
            if query.query_id in judged:
                yield query

    def qrels(self, split: str = "test") -> Iterator[Qrel]:
        """Yield the judgements of `split` in file order."""
        files = self._files("qrels")
        if split not in files:
            self._require_split(split)
        return read_any_qrels(files[split], bad=self._bad)

    def _files(self, role: str) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(self.folder.iterdir()):
            parts = strip_compression(path).split(".")
            if parts[0] == role and parts[-1] in ("tsv", "txt", "trec") and path.is_file():
                found.setdefault(".".join(parts[1:-1]) or "test", path)
        return found
