"""Metadata by value: for every field its distinct values, sorted, and the rows that have each.

It is the inverted index of the metadata of one segment: immutable, memory-mapped, derived. A test
is a binary search and one slice of rows; a range of values is one slice too, because the rows lie
in the order of the values. Boolean operators work on whole bitmaps (`indexing.filters`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.filters import all_rows, bitmap
from indexing.filters_fields import FieldValues, Value
from indexing.filters_language import (
    AllOf,
    AnyOf,
    ExistsTest,
    Negation,
    RangeTest,
    Test,
    ValuesTest,
)
from lsr.core.artifact import open_array
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int32Array, Int64Array, UInt8Array, UInt64Array

__all__ = ["ColumnBuilder", "Columns", "columns_of"]

_ARRAYS = ("rows", "starts", "keys", "text", "text_offsets")


class _ArrayWriter(Protocol):
    def array(self, name: str, array: NDArray[Any]) -> None: ...


class ColumnBuilder:
    """Collects the values of rows in ascending order; memory is a few bytes a value."""

    def __init__(self) -> None:
        self._rows: dict[str, array[int]] = {}
        self._codes: dict[str, array[Any]] = {}
        self._strings: dict[str, dict[str, int]] = {}
        self._kinds: dict[str, str] = {}
        self._n_rows = 0

    def add(self, values: FieldValues, types: Mapping[str, str]) -> None:
        """Take the values of the next row."""
        row = self._n_rows
        self._n_rows += 1
        for field, found in values.items():
            if field not in self._rows:
                self._kinds[field] = types[field]
                self._rows[field] = array("i")
                self._codes[field] = array("d" if types[field] == "number" else "q")
                self._strings[field] = {}
            rows, codes, strings = self._rows[field], self._codes[field], self._strings[field]
            for value in found:
                rows.append(row)
                if isinstance(value, str):
                    codes.append(strings.setdefault(value, len(strings)))
                else:
                    codes.append(value)

    def finish(self) -> Columns:
        """Return the columns of all rows taken."""
        rows: list[NDArray[Any]] = [np.empty(0, np.int32)]
        starts: list[NDArray[Any]] = []
        keys: list[NDArray[Any]] = [np.empty(0, np.int64)]
        texts: list[bytes] = []
        catalogue: dict[str, tuple[str, int, int]] = {}
        n_entries = n_keys = 0
        for field in sorted(self._rows):
            kind = self._kinds[field]
            codes: NDArray[Any] = np.frombuffer(
                self._codes[field], dtype=np.float64 if kind == "number" else np.int64
            )
            if kind == "string":
                ordered = sorted(
                    (text.encode(), code) for text, code in self._strings[field].items()
                )
                rank = np.empty(len(ordered), dtype=np.int64)
                rank[[code for _, code in ordered]] = np.arange(len(ordered))
                codes = rank[codes]
            order = np.argsort(codes, kind="stable")
            distinct, first = np.unique(codes[order], return_index=True)
            rows.append(np.frombuffer(self._rows[field], dtype=np.int32)[order])
            starts.append(first.astype(np.int64) + n_entries)
            if kind == "string":
                # A key is the place of its text in the common table.
                distinct = np.arange(len(texts), len(texts) + len(ordered))
                texts.extend(text for text, _ in ordered)
            keys.append(np.ascontiguousarray(distinct).view(np.int64))
            catalogue[field] = (kind, n_keys, n_keys + len(distinct))
            n_entries += len(codes)
            n_keys += len(distinct)
        text_offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=text_offsets[1:])
        return Columns(
            rows=np.concatenate(rows),
            starts=np.concatenate([*starts, np.array([n_entries], np.int64)]),
            keys=np.concatenate(keys),
            text=np.frombuffer(b"".join(texts), dtype=np.uint8),
            text_offsets=text_offsets,
            catalogue=catalogue,
            n_rows=self._n_rows,
        )


class Columns:
    """The values of all fields of one set of rows; made by `ColumnBuilder` or `open`.

    Parameters
    ----------
    rows : int32, shape (n_entries,)
        By field, then value, then row.
    starts : int64, shape (n_keys + 1,)
        Entries of key `i` are ``rows[starts[i]:starts[i + 1]]``.
    keys : int64, shape (n_keys,)
        Ascending within a field: a date or boolean, the bits of a float64, or the place of a text.
    text : uint8, shape (n_bytes,)
    text_offsets : int64, shape (n_texts + 1,)
    catalogue : mapping of str to (str, int, int)
        Type, first key and end by field.
    n_rows : int
    """

    def __init__(
        self,
        *,
        rows: Int32Array,
        starts: Int64Array,
        keys: Int64Array,
        text: UInt8Array,
        text_offsets: Int64Array,
        catalogue: Mapping[str, tuple[str, int, int]],
        n_rows: int,
    ) -> None:
        self._rows = rows
        self._starts = starts
        self._keys = keys
        self._text = text
        self._text_offsets = text_offsets
        self._catalogue = catalogue
        self.n_rows = n_rows

    def write(self, writer: _ArrayWriter) -> dict[str, Any]:
        """Write the arrays into an open artefact; return what `open` needs beside them."""
        for name in _ARRAYS:
            writer.array(f"fields.{name}", getattr(self, f"_{name}"))
        return {"catalogue": {field: list(at) for field, at in self._catalogue.items()}}

    @classmethod
    def open(cls, path: Path, manifest: Manifest, details: Mapping[str, Any]) -> Columns:
        """Return the memory-mapped columns that `write` wrote."""
        arrays = {name: open_array(path, f"fields.{name}", manifest) for name in _ARRAYS}
        catalogue = {
            field: (str(kind), int(first), int(end))
            for field, (kind, first, end) in details["catalogue"].items()
        }
        return cls(**arrays, catalogue=catalogue, n_rows=int(manifest.details["n_documents"]))

    def evaluate(self, test: Test) -> UInt64Array:
        """Return the bitmap of the rows that pass."""
        if isinstance(test, AllOf | AnyOf):
            words = self.evaluate(test.parts[0])
            for part in test.parts[1:]:
                if isinstance(test, AllOf):
                    words = words & self.evaluate(part)
                else:
                    words = words | self.evaluate(part)
            return words
        if isinstance(test, Negation):
            return all_rows(self.n_rows) & ~self.evaluate(test.part)
        return bitmap(self._rows_of(test), self.n_rows)

    def _rows_of(self, test: ValuesTest | RangeTest | ExistsTest) -> Int32Array:
        if test.field not in self._catalogue:
            return np.empty(0, np.int32)
        kind, first, end = self._catalogue[test.field]
        if isinstance(test, ExistsTest):
            return self._entries(first, end)
        if isinstance(test, RangeTest):
            low = self._find(test.low, kind, first, end, after=test.strict_low)
            high = self._find(test.high, kind, first, end, after=not test.strict_high)
            return self._entries(
                low if test.low is not None else first, high if test.high is not None else end
            )
        parts = [np.empty(0, np.int32)]
        for value in test.values:
            low = self._find(value, kind, first, end, after=False)
            parts.append(self._entries(low, self._find(value, kind, low, end, after=True)))
        return np.concatenate(parts)

    def _entries(self, first_key: int, end_key: int) -> Int32Array:
        if first_key >= end_key:
            return np.empty(0, np.int32)
        return self._rows[int(self._starts[first_key]) : int(self._starts[end_key])]

    def _find(self, value: Value | None, kind: str, first: int, end: int, *, after: bool) -> int:
        """Return the first key not below `value` (`after`: the first above it)."""
        if value is None:
            return first
        if isinstance(value, str):
            wanted = value.encode()
            while first < end:
                middle = (first + end) // 2
                seen = self._text_at(int(self._keys[middle]))
                if seen < wanted or (after and seen == wanted):
                    first = middle + 1
                else:
                    end = middle
            return first
        keys: NDArray[Any] = self._keys[first:end]
        if kind == "number":
            keys = keys.view(np.float64)
        return first + int(np.searchsorted(keys, value, side="right" if after else "left"))

    def _text_at(self, place: int) -> bytes:
        start, end = self._text_offsets[place : place + 2].tolist()
        return self._text[start:end].tobytes()


def columns_of(rows: Iterable[FieldValues], types: Mapping[str, str]) -> Columns:
    """Return the columns of rows in memory."""
    builder = ColumnBuilder()
    for values in rows:
        builder.add(values, types)
    return builder.finish()
