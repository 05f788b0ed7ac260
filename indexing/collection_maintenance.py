"""Keeping a live collection in shape beside its readers: seal, merge, fold, sweep.

All of them are one operation: *build the segment of a range of numbers from the store, then put it
in the place of what covered the range*. The build runs beside reads and writes; the exchange is one
transaction. What died meanwhile has left a tombstone, which the new segment takes over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from indexing.collection_config import CollectionConfig
from indexing.collection_head import HeadRow
from indexing.collection_segment import Segment, SegmentView, build_segment, remove_unused
from indexing.filters_fields import field_values
from indexing.live_rows import SegmentRow, Widths
from indexing.live_store import LiveStore
from indexing.live_transactions import ReadTransaction
from lsr.core.errors import ArtifactCorruptedError

__all__ = [
    "FOLD_AT",
    "SegmentSize",
    "build_range",
    "fold_tombstones",
    "head_rows",
    "plan_merge",
    "replace_range",
    "sweep",
]

logger = logging.getLogger(__name__)

FOLD_AT = 10_000
"""Tombstones of one segment before they become part of its bitmap in the store."""


# Segments beyond this many times `merge_factor` are merged whatever their sizes.
_PILE = 4


class SegmentSize(NamedTuple):
    """What the merge policy looks at."""

    n_rows: int
    n_alive: int


def plan_merge(sizes: Sequence[SegmentSize], config: CollectionConfig) -> tuple[int, int] | None:
    """Return the neighbouring segments ``first:end`` to be made one, or None.

    Of all `merge_factor` neighbours of which none is larger than the others together, the smallest:
    whatever is rewritten at least doubles its segment, so a document is rewritten at most
    log2(collection / first segment) times. Should segments of unlike size pile up all the same, the
    smallest neighbours are merged whatever their balance. A segment with too many dead rows is
    rewritten alone.
    """
    factor = config.merge_factor
    best: tuple[int, int] | None = None
    for first in range(len(sizes) - factor + 1):
        window = [size.n_alive for size in sizes[first : first + factor]]
        balanced = 2 * max(window) <= sum(window)
        too_many = len(sizes) > _PILE * factor
        if (balanced or too_many) and (best is None or sum(window) < best[0]):
            best = sum(window), first
    if best is not None:
        return best[1], best[1] + factor
    for at, size in enumerate(sizes):
        if size.n_rows - size.n_alive > config.max_dead_share * size.n_rows:
            return at, at + 1
    return None


def head_rows(
    look: ReadTransaction, first: int, last: int, types: Mapping[str, str]
) -> Iterator[HeadRow]:
    """Yield the live documents from `first` to `last` with their fields in comparable form.

    Raises
    ------
    ArtifactCorruptedError
        If a stored document breaks the types of the stored fields.
    """
    for number, doc_id, metadata, vector, dense in look.rows(first, last):
        new: dict[str, str] = {}
        fields = field_values(doc_id, metadata, types, new)
        if new:
            raise ArtifactCorruptedError(
                f"Document {doc_id!r} has fields that the store does not know: {sorted(new)}.",
                hint="Restore the collection from a snapshot.",
            )
        yield HeadRow(number, doc_id, fields, vector, dense)


def build_range(
    store: LiveStore,
    folder: Path,
    first: int,
    last: int,
    config: CollectionConfig,
    types: Mapping[str, str],
    *,
    widths: Widths,
    n_threads: int | None = None,
) -> SegmentRow | None:
    """Build the segment of the live documents from `first` to `last`; None where there are none."""

    def rows() -> Iterator[HeadRow]:
        # The look at the store ends with the last row: the build does not hold back the log.
        with store.read() as look:
            yield from head_rows(look, first, last, types)

    started = time.perf_counter()
    row = build_segment(folder, rows(), config, types, widths=widths, n_threads=n_threads)
    if row is None:
        return None
    logger.info(
        "Sealed %s documents in %.2f s: %s",
        f"{row.n_rows:,}",
        time.perf_counter() - started,
        row.name,
    )
    # It answers for the whole range, whatever lives in it.
    return row._replace(first=first, last=last)


def replace_range(
    store: LiveStore, old: Sequence[str], segment: Segment | None, first: int, last: int
) -> SegmentView | None:
    """Put `segment` in the place of the segments named `old`, in one transaction."""
    with store.write() as transaction:
        transaction.replace_segments(old, segment.row if segment is not None else None)
        dead = transaction.tombstones(first, last)
        dead = segment.numbers[segment.rows_of_numbers(dead)] if segment is not None else dead[:0]
        transaction.forget_tombstones(first, last, keep=dead)
    return SegmentView.of(segment, segment.row, dead) if segment is not None else None


def fold_tombstones(store: LiveStore, views: Iterable[SegmentView]) -> bool:
    """Fold the tombstones of segments that have many into their bitmaps; return whether any had.

    `views` must be those of the latest generation.
    """
    folded = False
    for view in views:
        row = view.segment.row
        with store.read() as look:
            n_tombstones = len(look.tombstones(row.first, row.last))
        if n_tombstones < FOLD_AT:
            continue
        with store.write() as transaction:
            current = next(r for r in transaction.segments() if r.name == row.name)
            transaction.put_segment(current._replace(dead=view.dead_bytes()))
            transaction.forget_tombstones(row.first, row.last)
        folded = True
    return folded


def sweep(folder: Path, used: set[str]) -> list[str]:
    """Remove the folders in `folder` that are not `used` and that nobody has open; return names."""
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name not in used and remove_unused(path)
    ]
