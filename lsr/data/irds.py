"""Data sets of the package ir_datasets, by its identifiers; it downloads what it needs itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lsr.core.errors import (
    DataError,
    DatasetNotFoundError,
    DownloadError,
    MissingDependencyError,
    near_names,
)
from lsr.core.records import Document, Qrel, Query
from lsr.data.base import ALL_QUERIES, Dataset

__all__ = ["IrdsDataset", "is_irds_id"]

_TEXT_FIELDS = ("text", "body", "abstract", "contents")


def _package() -> Any:
    try:
        import ir_datasets
    except ImportError:
        raise MissingDependencyError(
            "ir_datasets", extra="eval", purpose="Reading a data set by its ir_datasets id"
        ) from None
    return ir_datasets


def _known_ids() -> list[str]:
    return list(_package().registry)


def is_irds_id(name: str) -> bool:
    """Return whether ir_datasets is installed and knows `name`."""
    try:
        return name in _known_ids()
    except MissingDependencyError:
        return False


class IrdsDataset(Dataset):
    """One identifier of ir_datasets, such as ``beir/scifact/test``.

    An id with judgements is one split, called ``"train"`` or ``"dev"`` if a part of the id is,
    else ``"test"``. An id without (``beir/scifact``) has the splits of its children
    (``"test"``, ``"train"``).

    Parameters
    ----------
    dataset_id : str
        The identifier, without prefix.

    Raises
    ------
    MissingDependencyError
        If ir_datasets is not installed.
    DatasetNotFoundError
        If it does not know the id.
    """

    def __init__(self, dataset_id: str) -> None:
        known = _known_ids()
        if dataset_id not in known:
            raise DatasetNotFoundError(
                f"ir_datasets has no data set {dataset_id!r}.{near_names(dataset_id, known)}"
            )
        self.name = dataset_id
        self._source = _package().load(dataset_id)
        self._splits: dict[str, Any] = {}
        if self._source.has_qrels():
            parts = dataset_id.split("/")
            split = next((s for s in ("train", "dev") if s in parts), "test")
            self._splits[split] = self._source
        else:
            for child in known:
                if child.startswith(f"{dataset_id}/"):
                    source = _package().load(child)
                    if source.has_qrels():
                        self._splits[child[len(dataset_id) + 1 :]] = source

    def documents(self) -> Iterator[Document]:
        """Yield the documents; the first call downloads them.

        Raises
        ------
        DataError
            If they cannot be fetched or read.
        """
        if not self._source.has_docs():
            raise DataError(f"The data set {self.name!r} of ir_datasets has no documents.")
        for record in self._read(self._source.docs_iter, "documents"):
            yield _document(record)

    def n_documents(self) -> int | None:
        """Return the count that ir_datasets ships with its catalogue, or None."""
        count = self._source.docs_metadata().get("count") if self._source.has_docs() else None
        return None if count is None else int(count)

    def splits(self) -> list[str]:
        """Return the judged splits, sorted."""
        return sorted(self._splits)

    def queries(self, split: str = "test") -> Iterator[Query]:
        """Yield the queries that `split` judges; ``"all"`` yields every query of the id."""
        if split == ALL_QUERIES:
            source, judged = self._source, None
        else:
            self._require_split(split)
            source, judged = self._splits[split], {q.query_id for q in self.qrels(split)}
        if not source.has_queries():
            raise DataError(f"The data set {self.name!r} of ir_datasets has no queries.")
        for record in self._read(source.queries_iter, "queries"):
            if judged is None or record.query_id in judged:
                yield Query(record.query_id, record.default_text())

    def qrels(self, split: str = "test") -> Iterator[Qrel]:
        """Yield the judgements of `split`."""
        self._require_split(split)
        for record in self._read(self._splits[split].qrels_iter, "judgements"):
            yield Qrel(
                record.query_id,
                record.doc_id,
                int(record.relevance),
                str(getattr(record, "iteration", "0")),
            )

    def _read(self, read: Any, what: str) -> Iterator[Any]:
        # ir_datasets downloads while iterating, and lets the network's errors through.
        try:
            yield from read()
        except (OSError, RuntimeError) as error:
            raise DownloadError(
                f"ir_datasets could not give the {what} of {self.name!r}: {error}",
                hint="It needs the network on first use; see its message above.",
            ) from error


def _document(record: Any) -> Document:
    fields = record._asdict()
    text_field = next((name for name in _TEXT_FIELDS if isinstance(fields.get(name), str)), None)
    title = fields.get("title") if isinstance(fields.get("title"), str) else ""
    if text_field is None:
        return Document(record.doc_id, record.default_text(), "", {})
    used = {"doc_id", text_field, "title"}
    metadata = {
        name: value
        for name, value in fields.items()
        if name not in used and isinstance(value, str | int | float | bool | list | dict)
    }
    return Document(record.doc_id, fields[text_field], title or "", metadata)
