"""Compile, or load from the compiler's cache, before the first query has to wait for it.

The first process after an installation compiles each kernel (seconds); later ones load them from
the cache (milliseconds). `warm_up` does it at a moment of the caller's choice, on an index of a
few documents, and says so when it takes long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from indexing.filters import all_rows
from indexing.storage import layout_class
from lsr.core.sparse import SparseMatrix

__all__ = ["warm_up", "warm_up_live"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_N_TERMS, _N_ROWS, _NNZ = 64, 40, 6
_WIDE = 65_536


def warm_up(layout: str = "exact", *, wide_terms: bool = False) -> float:
    """Run every kernel of a layout's search once; return the seconds that it took.

    Parameters
    ----------
    layout : str
        The layout's kind.
    wide_terms : bool
        For vocabularies above 65,536 terms, which have kernels of their own.

    Raises
    ------
    ArtifactFormatError
        If this release does not know the layout.
    """
    started = time.perf_counter()
    cls = layout_class(layout)
    with _say_if_long(layout):
        index: Any = cls.from_matrix(_tiny(70_000 if wide_terms else _N_TERMS), n_threads=1)
        query = index.document(0)
        index.search(query, 2)
        index.search(query, 2, allowed=all_rows(_N_ROWS))
        if index.params_model is not None:
            index.search(query, 2, params=index.params_model.model_validate({"exact": True}))
    return time.perf_counter() - started


def warm_up_live(layout: str, vocabulary_size: int) -> float:
    """Run what the first searches of a live collection need once; return the seconds it took.

    The collection may be empty, so that searching it would warm nothing: its tail, the exact
    indexes of its head and of small segments, the layout of large ones, with and without a bitmap
    of the living.

    Parameters
    ----------
    layout : str
        Of its segments.
    vocabulary_size : int
        Of its vectors.
    """
    from indexing.collection_head import Head, HeadRow, ScatteredQuery

    started = time.perf_counter()
    wide = vocabulary_size > _WIDE
    for kind in dict.fromkeys(("exact", layout)):
        warm_up(kind, wide_terms=wide)
    rows = list(_tiny(_WIDE + 1 if wide else _N_TERMS))
    head = Head(rows[0].size).added(
        [HeadRow(at, str(at), {}, vector) for at, vector in enumerate(rows)], {}
    )
    for part in head.parts:
        part.search(rows[0], 2, part.alive, ScatteredQuery(rows[0]))
    return time.perf_counter() - started


def _tiny(n_terms: int) -> SparseMatrix:
    rng = np.random.default_rng(0)
    terms = np.stack([np.sort(rng.choice(_N_TERMS, _NNZ, replace=False)) for _ in range(_N_ROWS)])
    return SparseMatrix(
        np.arange(0, _NNZ * _N_ROWS + 1, _NNZ, dtype=np.int64),
        terms.ravel().astype(np.int32),
        rng.uniform(0.5, 2.0, _NNZ * _N_ROWS).astype(np.float32),
        (_N_ROWS, n_terms),
    )


@contextmanager
def _say_if_long(layout: str) -> Iterator[None]:
    """Log a line if the block runs for more than a second: the compiler is at work."""

    def say() -> None:
        logger.info(
            "Compiling the kernels of layout %r; the next start finds them in the cache.", layout
        )

    timer = threading.Timer(_PATIENCE_S, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
