from __future__ import annotations

import threading

import pytest

from indexing.threads import ScratchPool, resolve_threads, run_parallel
from lsr.core.errors import ArgumentError
from lsr.core.settings import get_settings


@pytest.mark.parametrize("n_threads", [1, 3, 50])
@pytest.mark.parametrize("n_items", [0, 1, 40])
def test_every_item_runs_once(n_threads: int, n_items: int) -> None:
    done: list[int] = []
    run_parallel(done.append, n_items, n_threads)
    assert sorted(done) == list(range(n_items))


def test_items_run_at_the_same_time() -> None:
    # Each waits for the other: a single thread would hang (and break the barrier).
    barrier = threading.Barrier(2, timeout=20)
    run_parallel(lambda item: barrier.wait() and None, 2, 2)


@pytest.mark.parametrize("n_threads", [1, 4])
def test_the_first_exception_comes_through(n_threads: int) -> None:
    def work(item: int) -> None:
        if item == 5:
            raise ValueError("item 5")

    with pytest.raises(ValueError, match="item 5"):
        run_parallel(work, 1000, n_threads)


def test_scratch_is_never_shared_and_is_used_again() -> None:
    made: list[list[int]] = []

    def make() -> list[int]:
        made.append([])
        return made[-1]

    pool = ScratchPool(make)
    with pool.borrow() as first, pool.borrow() as second:
        assert first is not second
    with pool.borrow() as again:
        assert again is first or again is second
    assert len(made) == 2


def test_scratch_is_dropped_after_an_exception() -> None:
    pool: ScratchPool[list[int]] = ScratchPool(list)
    with pytest.raises(ValueError), pool.borrow() as dirty:
        dirty.append(1)
        raise ValueError
    with pool.borrow() as fresh:
        assert fresh == []


def test_resolve_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_threads(3) == 3
    assert resolve_threads(None) == get_settings().threads
    with pytest.raises(ArgumentError, match="n_threads must be 1 or more"):
        resolve_threads(0)
