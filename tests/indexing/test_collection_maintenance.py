"""Which segments are merged, and what maintenance leaves in the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.collection import Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_maintenance import SegmentSize, plan_merge
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary

CONFIG = CollectionConfig(seal_at=10, merge_factor=3, max_dead_share=0.5)
VOCABULARY = Vocabulary("abc")


def sizes(*alive: int) -> list[SegmentSize]:
    return [SegmentSize(n, n) for n in alive]


@pytest.mark.parametrize(
    ("alive", "expected"),
    [
        ((), None),
        ((10, 10), None),
        ((10, 10, 10), (0, 3)),
        ((500, 10, 10, 10), (1, 4)),
        ((30, 30, 10, 10), (0, 3)),
        ((10, 500, 10, 10), None),
        ((30, 30, 30), (0, 3)),
        ((90, 90, 30, 30, 30), (2, 5)),
    ],
)
def test_neighbours_become_one_where_none_outweighs_the_others(
    alive: tuple[int, ...], expected: tuple[int, int] | None
) -> None:
    assert plan_merge(sizes(*alive), CONFIG) == expected


def test_a_segment_with_many_dead_rows_is_written_again() -> None:
    assert plan_merge([SegmentSize(10, 5)], CONFIG) is None
    assert plan_merge([SegmentSize(10, 10), SegmentSize(10, 4)], CONFIG) == (1, 2)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=150))
def test_segments_stay_few_and_rewriting_logarithmic(seals: list[int]) -> None:
    held: list[SegmentSize] = []
    rewritten = 0
    for n_rows in seals:
        held.append(SegmentSize(n_rows, n_rows))
        while (plan := plan_merge(held, CONFIG)) is not None:
            first, end = plan
            total = sum(size.n_alive for size in held[first:end])
            rewritten += total
            held[first:end] = [SegmentSize(total, total)]
        assert len(held) <= 12
    assert rewritten <= sum(seals) * (np.log2(sum(seals)) + 1)


def test_seals_of_one_size_are_rewritten_seldom() -> None:
    held: list[SegmentSize] = []
    rewritten = 0
    for _ in range(3**6):
        held.append(SegmentSize(10, 10))
        while (plan := plan_merge(held, CONFIG)) is not None:
            first, end = plan
            total = sum(size.n_alive for size in held[first:end])
            rewritten += total
            held[first:end] = [SegmentSize(total, total)]
    assert len(held) <= 9
    assert rewritten <= 10 * 3**6 * 8


def test_tombstones_are_folded_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.collection_maintenance.FOLD_AT", 5)
    query = SparseVector.from_mapping({0: 1.0}, 3)
    config = CollectionConfig(max_dead_share=0.9)
    with Collection.create(
        tmp_path / "live", VOCABULARY, config=config, encoder="t", idf="none", background=False
    ) as live:
        documents = [Document(f"d{n}", "") for n in range(20)]
        live.load([(documents, SparseMatrix.from_rows([query] * 20, 3))])
        with Collection.open(tmp_path / "live") as reader:
            for n in range(12):
                live.delete([f"d{n}"])
                live.maintain()
                with live._store.read() as look:
                    tombstones = look.tombstones(0, 100)
                    (row,) = look.segments()
                assert len(tombstones) == (n + 1) % 5
                assert bool(row.dead) == (n >= 4)
                for each in (live, reader):
                    assert len(each.search(query, 100)) == 19 - n
    with Collection.open(tmp_path / "live") as reader:
        assert reader.search(query, 100).doc_ids == [f"d{n}" for n in range(12, 20)]


def test_the_log_is_emptied_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.collection_keeper._CHECKPOINT_AT", 100_000)
    with Collection.create(
        tmp_path / "live", VOCABULARY, encoder="t", idf="none", background=False
    ) as live:
        vector = SparseVector.from_mapping({0: 1.0}, 3)
        logs = []
        for n in range(10):
            live.upsert([Document(f"d{n}", "x" * 30_000)], [vector])
            logs.append(live.stats()["log_bytes"])
        assert 0 in logs
        assert max(logs) < 100_000
