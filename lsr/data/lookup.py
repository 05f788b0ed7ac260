"""Texts by id, for training examples that name documents by id.

The texts of a collection are written once, one after another, into a temporary file; 16 bytes a
document stay in memory. Nine million passages take 140 MB so, and as much disk as they have text.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from lsr.core.artifact import storage_errors
from lsr.core.errors import DataError, DocumentNotFoundError
from lsr.data.base import ALL_QUERIES, Dataset
from lsr.data.examples import Example, IdExample

__all__ = ["DocumentTexts", "resolve_examples"]


class DocumentTexts:
    """The title and text of every document of a data set, by id; close it, or use ``with``.

    Parameters
    ----------
    dataset : Dataset
        Read once, now.
    only : container of str, optional
        Keep these ids alone.
    folder : Path, optional
        Where the temporary file stands; default the system's folder for such.

    Raises
    ------
    DataError, RecordError
        As the data set's reader.
    StorageError
        If the disk is full.
    """

    def __init__(
        self, dataset: Dataset, *, only: Container[str] | None = None, folder: Path | None = None
    ) -> None:
        self._name = dataset.name
        # Unnamed: it disappears with the process, however that ends.
        self._file = tempfile.TemporaryFile(prefix="lsr-texts-", dir=folder)
        keys, offsets = array("q"), array("q", [0])
        end = 0
        with storage_errors(Path(folder or tempfile.gettempdir()), "texts"):
            for document in dataset.documents():
                if only is None or document.doc_id in only:
                    # The id stands before its text: equal hashes are told apart by it.
                    raw = f"{document.doc_id}\n{document.content}".encode()
                    self._file.write(raw)
                    end += len(raw)
                    keys.append(hash(document.doc_id))
                    offsets.append(end)
            self._file.flush()
        unsorted = np.frombuffer(keys, dtype=np.int64) if keys else np.empty(0, np.int64)
        self._rows = np.argsort(unsorted, kind="stable")
        self._keys = unsorted[self._rows]
        self._offsets = np.frombuffer(offsets, dtype=np.int64)
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if end else None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, doc_id: object) -> bool:
        return isinstance(doc_id, str) and self._find(doc_id) is not None

    def __getitem__(self, doc_id: str) -> str:
        text = self._find(doc_id)
        if text is None:
            raise DocumentNotFoundError(f"{self._name} has no document {doc_id!r}.")
        return text

    def _find(self, doc_id: str) -> str | None:
        key = hash(doc_id)
        at = int(np.searchsorted(self._keys, key))
        while self._map is not None and at < len(self._keys) and self._keys[at] == key:
            row = int(self._rows[at])
            raw = self._map[int(self._offsets[row]) : int(self._offsets[row + 1])]
            seen, _, text = raw.decode("utf-8").partition("\n")
            if seen == doc_id:
                return text
            at += 1
        return None

    def close(self) -> None:
        """Delete the temporary file."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def resolve_examples(
    examples: Iterable[IdExample],
    dataset: Dataset,
    texts: DocumentTexts,
    *,
    skip_missing: bool = False,
) -> Iterator[Example]:
    """Yield the examples with texts instead of ids.

    Parameters
    ----------
    examples : iterable of IdExample
        Of any reader of `lsr.data.examples`.
    dataset : Dataset
        Gives the queries (all of them are held in memory) and the source's name.
    texts : DocumentTexts
        Gives the documents.
    skip_missing : bool
        Leave out passages, and examples without query or positive, that are not in the data set
        (a reduced collection); else they are an error.

    Raises
    ------
    DataError
        If a query or a document is missing and `skip_missing` is off.
    """
    queries = {query.query_id: query.text for query in dataset.queries(ALL_QUERIES)}
    for example in examples:
        ids = (*example.positives, *example.negatives)
        query = queries.get(example.query_id)
        if query is None or not all(i in texts for i in ids):
            if not skip_missing:
                missing = next((f"document {i!r}" for i in ids if i not in texts), "")
                name = missing if query is not None else f"query {example.query_id!r}"
                raise DataError(
                    f"{dataset.name} has no {name}, which a training example names.",
                    hint="Use the collection the examples were made for.",
                )
            if query is None:
                continue
        there = [i in texts for i in ids]
        split = len(example.positives)
        positives = tuple(texts[i] for i, ok in zip(ids[:split], there[:split], strict=True) if ok)
        negatives = tuple(texts[i] for i, ok in zip(ids[split:], there[split:], strict=True) if ok)
        # A distillation list may have no positives to begin with.
        if not (positives if split else negatives):
            continue
        scores = None
        if example.scores is not None:
            scores = tuple(s for s, ok in zip(example.scores, there, strict=True) if ok)
        yield Example(query, positives, negatives, scores, dataset.name)
