"""Any sequence of writes, seals, merges, reopenings and copies: always the dict and brute force."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from indexing.collection import Batch, Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_copies import repair, restore, snapshot, verify
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from tests.helpers.live_model import FIELDS, LiveModel, memory_folder
from tests.helpers.strategies import sparse_vectors

N_TERMS = 12
VOCABULARY = Vocabulary(f"t{n}" for n in range(N_TERMS))

ids = st.integers(0, 15).map(lambda n: f"doc-{n}")
metadata = st.fixed_dictionaries(
    {},
    optional={
        "lang": st.sampled_from(["en", "de", "fr", "é"]),
        "year": st.integers(1990, 1995) | st.just(1992.5),
        "open": st.booleans(),
        "day": st.sampled_from(["2026-01-01", "2026-01-02T03:00:00+03:00", "2025-12-31"]),
        "tags": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
        "none": st.none(),
    },
)
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(["en", "de", "xx"]).map(lambda v: {"equals": {"lang": v}}),
    st.integers(1989, 1996).map(lambda v: {"equals": {"year": v}}),
    st.booleans().map(lambda v: {"equals": {"open": v}}),
    st.lists(st.sampled_from(["a", "b", "z"]), min_size=1).map(lambda v: {"in": {"tags": v}}),
    st.tuples(st.sampled_from(["gt", "gte"]), st.integers(1989, 1996)).map(
        lambda v: {"range": {"year": {v[0]: v[1]}}}
    ),
    st.tuples(st.sampled_from(["lt", "lte"]), st.sampled_from(["2026-01-01", "2026-01-02"])).map(
        lambda v: {"range": {"day": {v[0]: v[1]}}}
    ),
    st.sampled_from(["c", "en", "f"]).map(lambda v: {"range": {"lang": {"gte": v, "lt": "g"}}}),
    st.sampled_from(list(FIELDS)).map(lambda v: {"exists": v}),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda v: {"and": v}),
        st.lists(inner, min_size=1, max_size=3).map(lambda v: {"or": v}),
        inner.map(lambda v: {"not": v}),
    ),
    max_leaves=5,
)
WIDTH = 3
# Few values: many ties, and products that are exact.
dense_vectors = st.lists(st.integers(-2, 2), min_size=WIDTH, max_size=WIDTH).map(
    lambda values: np.array(values, dtype=np.float32)
)
batches = st.lists(
    st.tuples(ids, metadata, sparse_vectors(N_TERMS, 5), dense_vectors), min_size=1, max_size=6
)


class CollectionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lsr-machine-", dir=memory_folder()))
        self.limits = pytest.MonkeyPatch()
        self.model = LiveModel()
        self.written = 0
        self.snapshots = 0
        self.collection: Collection | None = None
        self.reader: Collection | None = None

    def teardown(self) -> None:
        for open_one in (self.reader, self.collection):
            if open_one is not None:
                open_one.close()
        self.limits.undo()
        shutil.rmtree(self.folder, ignore_errors=True)

    @initialize(
        seal_at=st.sampled_from([2, 3, 1000]),
        tail=st.sampled_from([1, 2, 256]),
        fold_at=st.sampled_from([1, 2, 256]),
        lookup_ns=st.sampled_from([0.0, 1e9]),
        has_dense=st.booleans(),
    )
    def make(
        self, seal_at: int, tail: int, fold_at: int, lookup_ns: float, has_dense: bool
    ) -> None:
        # Few documents must reach what many reach.
        self.limits.setattr("indexing.collection_head.TAIL", tail)
        self.limits.setattr("indexing.collection_maintenance.FOLD_AT", fold_at)
        self.limits.setattr("indexing.filtered._NS_A_LOOKUP", lookup_ns)
        config = CollectionConfig(seal_at=seal_at, merge_factor=2, fields=FIELDS)
        self.path = self.folder / "live"
        self.collection = Collection.create(
            self.path,
            VOCABULARY,
            config=config,
            encoder="test",
            idf="none",
            dense=WIDTH if has_dense else None,
            background=False,
        )
        self.has_dense = has_dense
        self.reader = Collection.open(self.path)

    def _batch(self, drawn: Any) -> Batch:
        documents = []
        for doc_id, fields, vector, dense in drawn:
            self.written += 1
            document = Document(doc_id, f"text {self.written}", "title", fields)
            documents.append(document)
            self.model.upsert(document, vector, dense)
        vectors = SparseMatrix.from_rows([vector for _, _, vector, _ in drawn], N_TERMS)
        dense_rows = [dense for *_, dense in drawn] if self.has_dense else None
        return Batch(documents, vectors, dense=dense_rows)

    @rule(batch=batches)
    def upsert(self, batch: Any) -> None:
        made = self._batch(batch)
        before = len(self.model.documents)
        result = self.collection.upsert(made.documents, made.vectors, dense=made.dense)
        assert result.n_added + result.n_replaced == len({d.doc_id for d in made.documents})
        assert before == len(self.model.documents)

    @rule(batch=batches)
    def load(self, batch: Any) -> None:
        self.collection.load([self._batch(batch)])

    @rule(doc_ids=st.lists(ids, max_size=4))
    def delete(self, doc_ids: list[str]) -> None:
        expected = len({d for d in doc_ids if d in self.model.documents})
        assert self.collection.delete(doc_ids) == expected
        for doc_id in doc_ids:
            self.model.delete(doc_id)

    @rule(raw=filters)
    def delete_where(self, raw: Any) -> None:
        doomed = self.model.passing(raw)
        assert self.collection.delete_where(raw) == len(doomed)
        for doc_id in doomed:
            self.model.delete(doc_id)

    @rule()
    def seal(self) -> None:
        self.collection.seal()

    @rule()
    def merge(self) -> None:
        self.collection.merge()
        sizes = self.collection.stats()["segments"]
        assert len(sizes) <= 1
        assert all(s["n_rows"] == s["n_alive"] for s in sizes)

    @rule()
    def reopen(self) -> None:
        self.collection.close()
        self.collection = Collection.open(self.path, mode="w", background=False)

    @rule()
    def reopen_reader(self) -> None:
        self.reader.close()
        self.reader = Collection.open(self.path)

    @precondition(lambda self: self.snapshots < 2)
    @rule()
    def copy(self) -> None:
        self.snapshots += 1
        copy = self.folder / f"snapshot-{self.snapshots}"
        assert snapshot(self.path, copy)["n_documents"] == len(self.model.documents)
        self.collection.close()
        self.reader.close()
        self.path = self.folder / f"restored-{self.snapshots}"
        restore(copy, self.path).close()
        self.collection = Collection.open(self.path, mode="w", background=False)
        self.reader = Collection.open(self.path)

    @precondition(lambda self: self.snapshots < 2)
    @rule(everything=st.booleans())
    def repair(self, everything: bool) -> None:
        self.collection.close()
        assert repair(self.path, everything=everything).problems == []
        assert verify(self.path) == []
        self.collection = Collection.open(self.path, mode="w", background=False)

    @rule(query=sparse_vectors(N_TERMS, 6), k=st.integers(1, 20), raw=st.none() | filters)
    def search(self, query: Any, k: int, raw: Any) -> None:
        for each in (self.collection, self.reader):
            found = each.search(query, k, filter=raw, with_documents=True)
            doc_ids, scores = self.model.search(query, k, raw)
            assert found.doc_ids == doc_ids
            assert found.scores.tolist() == scores
            assert found.documents == [self.model.documents[d][0] for d in doc_ids]
            assert each.count(raw) == len(self.model.passing(raw))

    @precondition(lambda self: self.has_dense)
    @rule(
        query=sparse_vectors(N_TERMS, 6),
        dense=dense_vectors,
        k=st.integers(1, 20),
        raw=st.none() | filters,
    )
    def search_both(self, query: Any, dense: Any, k: int, raw: Any) -> None:
        for each in (self.collection, self.reader):
            sparse, near = each.search_both(query, dense, k, filter=raw)
            assert (sparse.doc_ids, sparse.scores.tolist()) == self.model.search(query, k, raw)
            assert (near.doc_ids, near.scores.tolist()) == self.model.nearest(dense, k, raw)
            for doc_id in near.doc_ids:
                assert np.array_equal(each.dense_vector(doc_id), self.model.dense[doc_id])

    @invariant()
    def holds_the_documents(self) -> None:
        if self.collection is None:
            return
        expected = list(self.model.documents)
        assert list(self.collection.doc_ids()) == expected
        assert list(self.reader.doc_ids()) == expected
        assert self.collection.n_documents == len(expected)


QUICK = settings(
    max_examples=8,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_any_sequence_is_the_model() -> None:
    run_state_machine_as_test(CollectionMachine, settings=QUICK)


@pytest.mark.slow
def test_any_long_sequence_is_the_model() -> None:
    run_state_machine_as_test(
        CollectionMachine, settings=settings(QUICK, max_examples=100, stateful_step_count=30)
    )
