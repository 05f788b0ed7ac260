"""Which rows make up a step, and what the teachers say about them.

The batch of a step is a function of the seed and the step's number alone: no sampler state has
to be saved, and a resumed run sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import ArgumentError, TrainingError
from lsr.training.config import TeacherConfig, TrainConfig
from lsr.training.cross_encoder import CrossEncoder
from lsr.training.pair_table import PairTable
from lsr.training.teachers import (
    DenseTable,
    SparseTable,
    bm25_weights,
    normalised_mixture,
    term_counts,
)
from lsr.training.tokens import DeviceTokens

__all__ = ["BatchRows", "Sampler", "TeacherPanel", "prefetch"]


@dataclass(frozen=True)
class BatchRows:
    """One step's rows.

    Attributes
    ----------
    queries : int64, shape (N,)
    documents : int64, shape (N · G,)
        Query by query, the positive first.
    positives : bool, shape (N, N · G)
        Documents known to answer a query, its own positive included.
    """

    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    positives: NDArray[np.bool_]


class Sampler:
    """Draws the rows of any step.

    Parameters
    ----------
    pairs : PairTable
        Training pairs.
    negatives : int32 array, shape (n_queries, depth), optional
        Mined negatives, -1 padded; without them, or where too few, passages are drawn at random.
    config : TrainConfig
        Batch, group, source weights, seed.

    Raises
    ------
    ArgumentError
        If there are fewer pairs than a batch has queries.
    """

    def __init__(
        self, pairs: PairTable, negatives: NDArray[np.int32] | None, config: TrainConfig
    ) -> None:
        self._pairs = np.asarray(pairs.pairs, dtype=np.int64)
        self._sources = np.asarray(pairs.pair_sources)
        self._n_passages = len(pairs.passages)
        self._negatives = negatives
        self._seed = config.seed
        self.batch = config.batch_queries
        self.group = config.documents_per_query
        weights = np.array([config.data.source_weights.get(s, 1.0) for s in pairs.sources])
        self._counts = [
            round(float(w) * int((self._sources == s).sum())) for s, w in enumerate(weights)
        ]
        self.steps_per_epoch = sum(self._counts) // self.batch
        if self.steps_per_epoch == 0:
            raise ArgumentError(
                f"{sum(self._counts)} weighted training pairs do not fill a batch of {self.batch}.",
                hint="Lower batch_queries, or give more data.",
            )
        known = np.concatenate([self._pairs, np.asarray(pairs.held_out, dtype=np.int64)])
        self._known = np.unique(known[:, 0] * self._n_passages + known[:, 1])
        self._listed: NDArray[np.int32] | None = None
        if pairs.lists is not None:
            self._listed = pairs.lists.negatives(self._known, self._n_passages)
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """Return pair positions of an epoch: each source `weight` times, shuffled."""
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, 2, epoch])
            parts = []
            for source, count in enumerate(self._counts):
                mine = np.flatnonzero(self._sources == source)
                whole, rest = divmod(count, max(1, len(mine)))
                parts += [mine] * whole
                if rest:
                    parts.append(rng.permutation(mine)[:rest])
            self._order = rng.permutation(np.concatenate(parts))
            self._epoch = epoch
        return self._order

    def rows(self, step: int) -> BatchRows:
        """Return the rows of step `step` (from 0)."""
        epoch, at = divmod(step, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        chosen = self._pairs[order[at * self.batch : (at + 1) * self.batch]]
        return self._with_negatives(chosen, np.random.default_rng([self._seed, 3, step]))

    def held_out(self, pairs: NDArray[np.int32]) -> BatchRows:
        """Return rows for given pairs, always with the same negatives."""
        return self._with_negatives(pairs.astype(np.int64), np.random.default_rng([self._seed, 4]))

    def _with_negatives(self, pairs: NDArray[np.int64], rng: np.random.Generator) -> BatchRows:
        n, extra = len(pairs), self.group - 1
        documents = np.empty((n, self.group), dtype=np.int64)
        documents[:, 0] = pairs[:, 1]
        if extra:
            documents[:, 1:] = rng.integers(self._n_passages, size=(n, extra))
            # Mined negatives replace random passages; those that came with the data, both.
            for table in (self._negatives, self._listed):
                if table is not None:
                    _draw(np.asarray(table[pairs[:, 0]], dtype=np.int64), documents[:, 1:], rng)
        flat = documents.reshape(-1)
        keys = pairs[:, :1] * self._n_passages + flat[None, :]
        at = np.searchsorted(self._known, keys)
        at = np.minimum(at, len(self._known) - 1)
        positives = self._known[at] == keys
        return BatchRows(pairs[:, 0].copy(), flat, positives)


def _draw(
    candidates: NDArray[np.int64], places: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Fill `places` with random valid candidates of their row, from the left, in place."""
    # Random keys put the valid ones into random order in front.
    keys = np.where(candidates >= 0, rng.random(candidates.shape), 2.0)
    picked = np.argsort(keys, axis=1)[:, : places.shape[1]]
    drawn = np.take_along_axis(candidates, picked, axis=1)
    width = drawn.shape[1]
    places[:, :width] = np.where(drawn >= 0, drawn, places[:, :width])


class TeacherPanel:
    """All teachers of a recipe: rows in, one mixed score matrix out.

    Parameters
    ----------
    config : TrainConfig
        Teachers, weights, scale.
    tables : dict
        Opened tables by the teacher's name; BM25 needs none.
    pairs : PairTable
        For BM25 its tokens, idf and mean length; for the teacher ``scores`` its lists; for a
        cross-encoder its tokens.
    device : torch.device
        Where scores are computed.
    """

    def __init__(
        self,
        config: TrainConfig,
        tables: dict[str, DenseTable | SparseTable],
        pairs: PairTable,
        device: torch.device,
    ) -> None:
        self._teachers = config.teachers
        self._scale = config.teacher_scale
        self._tables = tables
        self._device = device
        self._lexical: dict[str, DeviceTokens] = {}
        if any(t.kind == "bm25" for t in self._teachers):
            for name in ("passages", "queries"):
                table = getattr(pairs, name)
                self._lexical[name] = DeviceTokens(table, pairs.special, device)
            self._idf = torch.from_numpy(pairs.idf()).to(device)
            self._special = sorted(set(pairs.special.values()))
            self._mean_length = float(pairs.passages.lengths().mean())
            self._size = pairs.vocabulary_size

        self._scored: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        self._n_passages = len(pairs.passages)
        if any(t.kind == "scores" for t in self._teachers):
            self._scored = _scored_keys(pairs)
        self._cross = {
            t.name: CrossEncoder(t, pairs, device)
            for t in self._teachers
            if t.kind == "cross-encoder"
        }
        self.own_only = self._scored is not None or bool(self._cross)
        self._group = config.documents_per_query

    def __bool__(self) -> bool:
        return bool(self._teachers)

    @torch.no_grad()
    def scores(self, rows: BatchRows) -> Tensor:
        """Return the mixture, float32, shape (N, N · G): over the whole batch.

        Where a teacher knows the own documents only (`own_only`), over those, shape (N, G).
        """
        parts = [(t.weight, self._score(t, rows)) for t in self._teachers]
        if self.own_only:
            n, g = len(rows.queries), self._group
            at = torch.arange(n, device=self._device)[:, None] * g
            columns = at + torch.arange(g, device=self._device)
            parts = [(w, s if s.shape[1] == g else s.gather(1, columns)) for w, s in parts]
        return normalised_mixture(parts, self._scale)

    def _score(self, teacher: TeacherConfig, rows: BatchRows) -> Tensor:
        if teacher.kind == "bm25":
            queries = self._lexical["queries"].batch(rows.queries, 512)
            documents = self._lexical["passages"].batch(rows.documents, 8192)
            q = term_counts(queries.ids, queries.mask, size=self._size, special=self._special)
            tf = term_counts(documents.ids, documents.mask, size=self._size, special=self._special)
            d = bm25_weights(tf, k1=teacher.k1, b=teacher.b, mean_length=self._mean_length)
            return (q * self._idf) @ d.T
        if teacher.kind == "scores":
            return self._listed(rows)
        if teacher.kind == "cross-encoder":
            own = rows.documents.reshape(len(rows.queries), -1)
            return self._cross[teacher.name].scores(rows.queries, own)
        table = self._tables[teacher.name]
        q = table.side("queries", rows.queries, self._device)
        d = table.side("passages", rows.documents, self._device)
        if self._device.type == "cpu":
            q, d = q.float(), d.float()
        return (q @ d.T).float()

    def _listed(self, rows: BatchRows) -> Tensor:
        assert self._scored is not None, "there is a teacher of this kind"
        keys, scores = self._scored
        own = rows.documents.reshape(len(rows.queries), -1)
        wanted = rows.queries[:, None] * self._n_passages + own
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        if (keys[at] != wanted).any():
            row = int(np.flatnonzero((keys[at] != wanted).any(axis=1))[0])
            raise TrainingError(
                f"Query row {int(rows.queries[row])} has no {own.shape[1]} scored passages, which "
                "the teacher of kind 'scores' needs.",
                hint="Lower documents_per_query, or train on scored lists only.",
            )
        return torch.from_numpy(scores[at]).to(self._device)


def _scored_keys(pairs: PairTable) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ``query · n_passages + passage`` of every scored candidate, ascending, and scores."""
    if pairs.lists is None:
        raise TrainingError(
            "The teacher of kind 'scores' needs data with scores.", hint="Set data.examples."
        )
    counts = np.diff(pairs.lists.offsets)
    query = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    scores = np.asarray(pairs.lists.scores)
    there = ~np.isnan(scores)
    keys = query[there] * len(pairs.passages) + np.asarray(pairs.lists.passages)[there]
    order = np.argsort(keys, kind="stable")
    return keys[order], scores[there][order]


def prefetch(
    make: Callable[[int], BatchRows], first: int, stop: int, *, depth: int = 4
) -> Iterator[BatchRows]:
    """Yield ``make(first)`` … ``make(stop - 1)``, computed ahead in one thread."""
    ready: queue.Queue[BatchRows | Exception] = queue.Queue(maxsize=depth)
    leave = threading.Event()

    def put(item: BatchRows | Exception) -> bool:
        while not leave.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in range(first, stop):
                if not put(make(step)):
                    return
        except Exception as error:  # noqa: BLE001 -- whatever failed belongs to the consumer
            put(error)

    thread = threading.Thread(target=work, name="lsr-prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(first, stop):
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        leave.set()
        thread.join()
