"""Filters on an index folder: the metadata of its documents by value, written when it is built.

The columns are those of a live collection's segments (`indexing.filters_columns`), and so is the
language. A field whose values have several types is carried along but not filterable, unless a type
was declared: an index is built from what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from indexing.base import SearchResult, SparseIndex
from indexing.explain import Absence, filtered_out, judge
from indexing.filtered import Passing, PassingRows, search_passing
from indexing.filters import contains
from indexing.filters_columns import ColumnBuilder, Columns
from indexing.filters_fields import field_values, infer_types
from indexing.filters_language import bind, filter_key, parse_filter
from lsr.core.artifact import ArtifactWriter
from lsr.core.sparse import SparseVector

__all__ = ["FolderFilter", "write_fields"]


class FolderFilter:
    """Filters of one index; may be used from many threads.

    Parameters
    ----------
    columns : Columns
        The metadata of its rows.
    types : mapping of str to str
        Of the fields.
    """

    def __init__(self, columns: Columns, types: Mapping[str, str]) -> None:
        self.types = types
        self._rows = PassingRows(columns)

    def passing(self, filter: Any) -> Passing:
        """Return the rows that pass.

        Raises
        ------
        FilterError
            If the filter breaks the language's rules, or names an unknown field.
        """
        node = parse_filter(filter)
        return self._rows.of(bind(node, self.types), filter_key(node))

    def search(
        self, index: SparseIndex, query: SparseVector, k: int, params: Any, filter: Any
    ) -> SearchResult:
        """Return the best `k` rows that pass; raises as `passing` and `index.search` do."""
        return search_passing(index, query, k, params, self.passing(filter))

    def why_not(
        self,
        index: SparseIndex,
        query: SparseVector,
        row: int,
        k: int,
        *,
        params: Any,
        filter: Any,
    ) -> Absence:
        """Return why a row is not in the best `k` that pass, or at which rank it is."""
        passing = self.passing(filter)
        found = search_passing(index, query, k, params, passing)
        score = query.dot(index.document(row))
        if not contains(passing.words, np.array([row], dtype=np.int64))[0]:
            return filtered_out(row, score, k, found.scores)
        at = np.flatnonzero(found.rows == row)
        return judge(
            row,
            score,
            k,
            rank=int(at[0]) + 1 if len(at) else None,
            scores=found.scores,
            shortcut=lambda: index.shortcut(query, row, k, params=params),
        )


def write_fields(
    writer: ArtifactWriter,
    metadata: Callable[[], Iterable[tuple[str, Mapping[str, Any]]]],
    declared: Mapping[str, str],
) -> dict[str, Any]:
    """Write the columns of an index into its open artefact; return what the manifest keeps of them.

    Parameters
    ----------
    metadata : callable
        Returns the id and the metadata of every row, in order; called twice.
    declared : mapping of str to str
        Types of fields; a document that breaks one is an error.

    Raises
    ------
    DataError
        If a value is not of its field's declared type.
    """
    types = infer_types(metadata(), declared)
    columns = ColumnBuilder()
    for doc_id, values in metadata():
        columns.add(field_values(doc_id, values, types, {}) if values else {}, types)
    return {"types": types, **columns.finish().write(writer)}
