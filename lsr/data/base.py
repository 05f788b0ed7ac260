"""What a data set is to the rest of the system: documents, queries and judgements, streamed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lsr.core.errors import DatasetNotFoundError, near_names
from lsr.core.records import Document, Qrel, Query

__all__ = ["ALL_QUERIES", "Dataset", "UnjudgedDataset", "first_present"]

ALL_QUERIES = "all"
"""The split of `Dataset.queries` that yields every query, judged or not."""


class Dataset(ABC):
    """Documents, queries and judgements of one collection.

    Every method streams from its source, each call from the start, and nothing is kept: a
    collection of any size passes in constant memory.

    Attributes
    ----------
    name : str
        How messages, manifests and reports call it.
    """

    name: str

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yield the documents in the order of the source.

        Raises
        ------
        DataError
            If a file is missing or damaged.
        RecordError
            If a record cannot be used, or repeats an id.
        """

    @abstractmethod
    def splits(self) -> list[str]:
        """Return the names of the judged splits, sorted."""

    @abstractmethod
    def queries(self, split: str = "test") -> Iterator[Query]:
        """Yield the queries that `split` judges, or every query for the split ``"all"``.

        Raises
        ------
        DatasetNotFoundError
            If there is no such split.
        """

    @abstractmethod
    def qrels(self, split: str = "test") -> Iterator[Qrel]:
        """Yield the judgements of `split`.

        Raises
        ------
        DatasetNotFoundError
            If there is no such split.
        """

    def n_documents(self) -> int | None:
        """Return how many documents there are, or None if that takes reading them.

        It sizes progress bars; count `documents` for a number to rely on.
        """
        return None

    def _require_split(self, split: str) -> None:
        known = self.splits()
        if split not in known:
            has = f"it has {', '.join(known)}" if known else "it has no judgements"
            raise DatasetNotFoundError(
                f"The data set {self.name!r} has no split {split!r}; {has}."
                f"{near_names(split, known)}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class UnjudgedDataset(Dataset):
    """A collection of documents alone."""

    def splits(self) -> list[str]:
        """Return an empty list."""
        return []

    def queries(self, split: str = "test") -> Iterator[Query]:
        """Raise: there are no queries; only the split ``"all"`` is there, and empty."""
        if split != ALL_QUERIES:
            self._require_split(split)
        return iter(())

    def qrels(self, split: str = "test") -> Iterator[Qrel]:
        """Raise: there are no judgements."""
        self._require_split(split)
        return iter(())


def first_present(folder: Path, *names: str) -> Path | None:
    """Return the first of `names` in `folder`, plain, ``.zst`` or ``.gz``; None if there is none."""
    for name, suffix in chain.from_iterable(((n, s) for s in ("", ".zst", ".gz")) for n in names):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return None
