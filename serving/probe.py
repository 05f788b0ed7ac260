"""How much an approximate search misses, measured on live queries.

A sampled share of the searches is answered once more, exhaustively, in the background: in one
thread of low priority, one at a time, for at most a twentieth of its time. What cannot be done in
time is left out, so the probe never makes a search wait.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lsr.core.config import Config
from lsr.core.errors import LsrError
from lsr.core.sparse import SparseVector
from serving.sources import Source, overlap

__all__ = ["RecallProbe", "Sample"]

logger = logging.getLogger(__name__)

_WINDOW = 500
# Depths whose recall is told apart; searches of other depths are not probed.
_MOST_DEPTHS = 16
_SHARE_OF_TIME = 0.05
_NICE = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """A search that was answered.

    Attributes
    ----------
    index : str
    source : Source
    vector : SparseVector
    k : int
    filter : object
    found : sequence of str
        What it answered.
    generation : int
        Of the source, before it was searched.
    """

    index: str
    source: Source
    vector: SparseVector
    k: int
    filter: Any
    found: Sequence[str]
    generation: int


class RecallProbe:
    """Measures recall on a share of the searches it is offered.

    Parameters
    ----------
    share : float
        Between 0 and 1.
    share_of_time : float
        Most of the probing thread's time that may be spent.
    """

    def __init__(self, share: float, *, share_of_time: float = _SHARE_OF_TIME) -> None:
        self._share = share
        self._share_of_time = share_of_time
        self._random = random.Random()
        self._executor = ThreadPoolExecutor(
            1, thread_name_prefix="lsr-probe", initializer=_lower_priority
        )
        self._lock = threading.Lock()
        self._busy = False
        self._rest_until = 0.0
        self._seen: dict[tuple[str, int], deque[float]] = defaultdict(
            lambda: deque[float](maxlen=_WINDOW)
        )
        self._counts: dict[tuple[str, int], int] = defaultdict(int)

    def draw(self, params: Config | None) -> bool:
        """Return whether the search that comes now is to be offered afterwards."""
        return not getattr(params, "exact", False) and self._random.random() < self._share

    def offer(self, sample: Sample) -> None:
        """Have a search checked, unless the probe is busy or rests."""
        model = sample.source.params_model
        if model is None or "exact" not in model.model_fields:
            return
        with self._lock:
            if self._busy or time.monotonic() < self._rest_until:
                return
            key = sample.index, sample.k
            if key not in self._seen and len(self._seen) >= _MOST_DEPTHS:
                return
            self._busy = True
        try:
            self._executor.submit(self._check, sample, model.model_validate({"exact": True}))
        except RuntimeError:  # closing
            self._busy = False

    def _check(self, sample: Sample, exact: Config) -> None:
        started = time.monotonic()
        try:
            best = sample.source.search(sample.vector, sample.k, params=exact, filter=sample.filter)
            # What was written meanwhile is no fault of the search.
            if sample.source.generation == sample.generation:
                with self._lock:
                    key = sample.index, sample.k
                    self._seen[key].append(overlap(sample.found, best.doc_ids))
                    self._counts[key] += 1
        except LsrError as error:
            logger.warning("The recall of a search of %s was not measured: %s", sample.index, error)
        finally:
            ended = time.monotonic()
            with self._lock:
                self._rest_until = ended + (ended - started) * (1 / self._share_of_time - 1)
                self._busy = False

    def recalls(self) -> list[tuple[tuple[str, ...], float]]:
        """Return the mean of the latest measurements by index and depth."""
        with self._lock:
            return [
                ((index, str(k)), sum(seen) / len(seen))
                for (index, k), seen in sorted(self._seen.items())
                if seen
            ]

    def counts(self) -> list[tuple[tuple[str, ...], float]]:
        """Return how often was measured, by index and depth."""
        with self._lock:
            return [((index, str(k)), float(n)) for (index, k), n in sorted(self._counts.items())]

    def close(self) -> None:
        """Finish what runs."""
        self._executor.shutdown(cancel_futures=True)


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
