"""A sealed segment of a live collection: an immutable index folder over a range of numbers.

::

    manifest.json   kind "segment", layout, checksums
    *.npy           the layout's arrays, written by the builder that ``lsr index build`` uses
    numbers.npy     number of each row, ascending
    ids.*.npy       document ids by row
    fields.*.npy    metadata by value (`indexing.filters_columns`)
    dense.npy       dense vectors, float32, by row; only where the collection has a dense half

A segment is derived: it can be built again from the store at any time. Whoever has it open holds a
shared lock on its manifest, in whatever process; its folder is removed when the last one lets go.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
import weakref
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from indexing.base import SearchResult, SparseIndex
from indexing.collection_config import CollectionConfig
from indexing.collection_head import HeadRow
from indexing.config import ExactLayout
from indexing.dense_flat import nearest_rows
from indexing.filtered import Passing, PassingRows, search_passing
from indexing.filters import NO_FILTER, all_rows, clear_rows, contains, count_rows
from indexing.filters_columns import ColumnBuilder, Columns
from indexing.filters_language import Test
from indexing.live_checks import check_stamps, stamps_of
from indexing.live_rows import SegmentRow, Widths
from indexing.source import MatrixSource
from indexing.storage import layout_class
from lsr.core.artifact import (
    MANIFEST_NAME,
    check_artifact,
    file_digest,
    open_array,
    read_manifest,
    storage_errors,
    verify_artifact,
    write_artifact,
)
from lsr.core.errors import ArtifactCorruptedError, ArtifactNotFoundError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Float32Array, Int64Array, SparseMatrix, SparseVector, UInt64Array
from lsr.core.strings import StringTable

__all__ = ["Segment", "SegmentView", "build_segment", "remove_unused"]

SEGMENT_FORMAT = 1
_DENSE = "dense"


def build_segment(
    folder: Path,
    rows: Iterable[HeadRow],
    config: CollectionConfig,
    types: Mapping[str, str],
    *,
    widths: Widths,
    n_threads: int | None = None,
) -> SegmentRow | None:
    """Write the segment of `rows` (numbers ascend) below `folder`; None where there are no rows.

    Rows are spooled to files beside it, so memory does not grow with their vectors.

    Raises
    ------
    StorageError
        If the disk is full or refuses; nothing is left behind.
    """
    spool = folder / f".spool.{uuid.uuid4().hex[:8]}.tmp"
    with storage_errors(folder, "segment"):
        spool.mkdir(parents=True)
        try:
            return _build(spool, folder, rows, config, types, widths, n_threads)
        finally:
            shutil.rmtree(spool, ignore_errors=True)


def _build(
    spool: Path,
    folder: Path,
    rows: Iterable[HeadRow],
    config: CollectionConfig,
    types: Mapping[str, str],
    widths: Widths,
    n_threads: int | None,
) -> SegmentRow | None:
    numbers, ends, doc_ids = array("q"), array("q", [0]), list[str]()
    columns = ColumnBuilder()
    with (
        open(spool / "terms", "wb") as terms,
        open(spool / "weights", "wb") as weights,
        open(spool / "dense", "wb") as dense,
    ):
        for row in rows:
            numbers.append(row.number)
            doc_ids.append(row.doc_id)
            ends.append(ends[-1] + row.vector.nnz)
            terms.write(np.ascontiguousarray(row.vector.terms, np.int32).tobytes())
            weights.write(np.ascontiguousarray(row.vector.weights, np.float32).tobytes())
            if row.dense is not None:
                dense.write(row.dense.tobytes())
            columns.add(row.fields, types)
    if not doc_ids:
        return None
    source = MatrixSource(
        SparseMatrix(
            np.frombuffer(ends, dtype=np.int64),
            _mapped(spool / "terms", np.dtype(np.int32)),
            _mapped(spool / "weights", np.dtype(np.float32)),
            (len(doc_ids), widths.sparse),
        )
    )
    index = config.index
    if source.n_documents < config.exact_below:
        index = index.model_copy(update={"layout": ExactLayout()})
    name = f"segment-{numbers[0]:012d}-{uuid.uuid4().hex[:8]}"
    manifest = Manifest.new(
        "segment",
        SEGMENT_FORMAT,
        details={"layout": index.layout.kind, "nnz": source.nnz},
        config=index.model_dump(mode="json"),
        seed=index.seed,
    )
    with write_artifact(folder / name, manifest, overwrite=False) as writer:
        manifest.details.update(
            layout_class(index.layout.kind).build(source, writer, index, n_threads=n_threads)
        )
        writer.array("numbers", np.frombuffer(numbers, dtype=np.int64))
        StringTable.from_strings(doc_ids).write(writer, "ids")
        manifest.details["fields"] = columns.finish().write(writer)
        if widths.dense:
            rows_of_dense = _mapped(spool / "dense", np.dtype(np.float32))
            writer.array(_DENSE, rows_of_dense.reshape(len(doc_ids), widths.dense))
    path = folder / name
    return SegmentRow(
        name=name,
        first=numbers[0],
        last=numbers[-1],
        n_rows=len(doc_ids),
        dead=b"",
        manifest_sha256=file_digest(path / MANIFEST_NAME),
        stamps=stamps_of(path),
    )


def _mapped(path: Path, dtype: np.dtype[Any]) -> Any:
    if path.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


def remove_unused(path: Path) -> bool:
    """Remove the segment folder at `path` unless a process has it open; return whether it is gone.

    The lock is held meanwhile: a reader that comes too late finds nothing, never a half.
    """
    try:
        handle = os.open(path / MANIFEST_NAME, os.O_RDONLY)
    except FileNotFoundError:
        shutil.rmtree(path, ignore_errors=True)
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


class Segment:
    """An open segment; made by `open`.

    Attributes
    ----------
    row : SegmentRow
        As the store has it.
    numbers : int64, shape (n_rows,)
    doc_ids : StringTable
    index : SparseIndex
    dense : float32, shape (n_rows, width), optional
        Memory-mapped; None where the collection has no dense half.
    """

    def __init__(
        self,
        path: Path,
        row: SegmentRow,
        index: SparseIndex,
        numbers: Int64Array,
        doc_ids: StringTable,
        columns: Columns,
        dense: Float32Array | None,
    ) -> None:
        self.path = path
        self.row = row
        self.index = index
        self.numbers = numbers
        self.doc_ids = doc_ids
        self.dense = dense
        self._passing = PassingRows(columns)

    @classmethod
    def open(cls, path: Path, row: SegmentRow) -> Segment:
        """Return the memory-mapped segment at `path`.

        Files that were touched since the segment was sealed are compared with their checksums;
        for the others size and time are enough, so opening does not read them.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If it is not there, not of this format, or damaged.
        """
        hint = "Build it again from the documents: lsr index repair."
        try:
            handle = os.open(path / MANIFEST_NAME, os.O_RDONLY)
        except OSError:
            raise ArtifactNotFoundError(f"No segment at {path}.", hint=hint) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if not (path / MANIFEST_NAME).exists():
                raise ArtifactNotFoundError(f"No segment at {path}.", hint=hint)
            if file_digest(path / MANIFEST_NAME) != row.manifest_sha256:
                raise ArtifactCorruptedError(f"{path / MANIFEST_NAME} was changed.", hint=hint)
            manifest = read_manifest(path, kind="segment", format_version=SEGMENT_FORMAT)
            check_artifact(path, manifest)
            problems = check_stamps(path, row.stamps, manifest)
            if problems:
                raise ArtifactCorruptedError(f"{path}: {'; '.join(problems)}.", hint=hint)
            index = layout_class(manifest.details["layout"]).open(path, manifest)
            segment = cls(
                path,
                row,
                index,
                open_array(path, "numbers", manifest),
                StringTable.open(path, "ids", manifest),
                Columns.open(path, manifest, manifest.details["fields"]),
                open_array(path, _DENSE, manifest) if f"{_DENSE}.npy" in manifest.files else None,
            )
        except BaseException:
            os.close(handle)
            raise
        weakref.finalize(segment, os.close, handle)
        return segment

    def verify(self) -> list[str]:
        """Read every file; return one line for each that is missing or differs."""
        manifest = read_manifest(self.path, kind="segment", format_version=SEGMENT_FORMAT)
        return [f"{self.row.name}/{line}" for line in verify_artifact(self.path, manifest)]

    @property
    def n_rows(self) -> int:
        """Number of rows, dead ones with them."""
        return len(self.numbers)

    @property
    def n_bytes(self) -> int:
        """Size of its vectors, as they are searched."""
        dense = self.dense.nbytes if self.dense is not None else 0
        return sum(self.index.bytes_by_part().values()) + dense

    def rows_of_numbers(self, numbers: Int64Array) -> Int64Array:
        """Return the rows of those of `numbers` (ascending) that are in the segment."""
        at = np.searchsorted(self.numbers, numbers)
        inside = at < len(self.numbers)
        at, numbers = at[inside], numbers[inside]
        rows: Int64Array = at[self.numbers[at] == numbers].astype(np.int64)
        return rows

    def passing(self, test: Test, key: str) -> Passing:
        """Return the rows that pass a filter; `key` is the filter's text, for the cache."""
        return self._passing.of(test, key)


class SegmentView:
    """A segment as one generation sees it.

    Parameters
    ----------
    segment : Segment
    alive : uint64, shape (ceil(n_rows / 64),)
        Bitmap of the rows that live; empty where all do.
    n_alive : int
    """

    def __init__(self, segment: Segment, alive: UInt64Array, n_alive: int) -> None:
        self.segment = segment
        self.alive = alive
        self.n_alive = n_alive

    @classmethod
    def whole(cls, segment: Segment) -> SegmentView:
        """Return the view of a new segment."""
        return cls(segment, NO_FILTER, segment.n_rows)

    @classmethod
    def of(cls, segment: Segment, row: SegmentRow, dead: Int64Array) -> SegmentView:
        """Return the view with the folded dead rows of `row` and the dead numbers `dead`."""
        words = NO_FILTER
        n_alive = segment.n_rows
        if row.dead:
            words = all_rows(segment.n_rows) & ~np.frombuffer(row.dead, dtype="<u8").astype(
                np.uint64
            )
            n_alive = count_rows(words)
        return cls(segment, words, n_alive).without(dead)

    def without(self, numbers: Int64Array) -> SegmentView:
        """Return the view with those of `numbers` (ascending) dead that it holds."""
        low, high = np.searchsorted(numbers, (self.segment.row.first, self.segment.row.last + 1))
        rows = self.segment.rows_of_numbers(numbers[low:high])
        if not len(rows):
            return self
        words = self.alive if len(self.alive) else all_rows(self.segment.n_rows)
        n_newly = int(contains(words, rows).sum())
        return SegmentView(self.segment, clear_rows(words, rows), self.n_alive - n_newly)

    def dead_bytes(self) -> bytes:
        """Return the bitmap of the dead rows, as the store keeps it."""
        if not len(self.alive):
            return b""
        return (all_rows(self.segment.n_rows) & ~self.alive).astype("<u8").tobytes()

    def search(
        self, query: SparseVector, k: int, params: Any, passing: Passing | None
    ) -> SearchResult:
        """Return the best live rows, of those that pass where there is a filter."""
        index = self.segment.index
        # Small segments are exact, whatever the collection's layout is.
        params = params if index.params_model is not None else None
        if passing is None:
            return index.search(
                query, k, params=params, allowed=self.alive if len(self.alive) else None
            )
        return search_passing(index, query, k, params, passing, alive=self.alive)

    def nearest(self, query: Float32Array, k: int, passing: Passing | None) -> SearchResult:
        """Return the best live rows by their dense vectors, as `search` does by the sparse ones."""
        dense = self.segment.dense
        assert dense is not None, "asked only where there is a dense half"
        if passing is None:
            return nearest_rows(dense, query, k, allowed=self.alive, n_allowed=self.n_alive)
        allowed = passing.words & self.alive if len(self.alive) else passing.words
        return nearest_rows(dense, query, k, allowed=allowed, n_allowed=count_rows(allowed))
