from __future__ import annotations

import numpy as np
import pytest

from eval import latency
from eval.latency import Latency, measure_interleaved, measure_latency, measure_throughput
from lsr.core.errors import ArgumentError


class _Clock:
    """Advances by what the system under test asks for."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(latency.time, "perf_counter_ns", made)
    return made


def test_a_query_counts_with_the_median_of_its_runs(clock: _Clock) -> None:
    calls = {0: 0, 1: 0}

    def answer(query: int) -> None:
        calls[query] += 1
        # One interrupted run of query 0 must not show.
        slow = query == 0 and calls[0] == 3
        clock.now_ns += 900_000 if slow else (10_000 if query == 0 else 30_000)

    found = measure_latency(answer, 2, n_runs=3, n_warmup=1)
    assert found.mean_us == 20.0
    assert found.p50_us == 20.0
    assert found.n_queries == 2
    assert calls == {0: 4, 1: 4}


def test_percentiles_are_over_queries() -> None:
    found = Latency.of(np.arange(1, 101, dtype=np.float64), n_runs=1, n_warmup=0)
    assert found.p50_us == pytest.approx(50.5)
    assert found.p95_us == pytest.approx(95.05)
    assert found.p99_us == pytest.approx(99.01)


def test_systems_take_turns_and_change_order(clock: _Clock) -> None:
    order: list[str] = []

    def system(name: str, us: int) -> object:
        def answer(query: int) -> None:
            order.append(f"{name}{query}")
            clock.now_ns += us * 1000

        return answer

    found = measure_interleaved(
        {"a": system("a", 5), "b": system("b", 7)},  # type: ignore[dict-item]
        2,
        n_runs=1,
        n_warmup=0,
    )
    assert order == ["a0", "b0", "b1", "a1"]
    assert (found["a"].mean_us, found["b"].mean_us) == (5.0, 7.0)


def test_throughput_is_the_best_call_after_an_untimed_one(clock: _Clock) -> None:
    times = iter([9_000_000, 4_000_000, 2_000_000, 3_000_000])

    def answer_all() -> None:
        clock.now_ns += next(times)

    found = measure_throughput(answer_all, 10, n_threads=2, n_runs=3)
    assert found.queries_per_s == 10 / 0.002
    assert found.n_threads == 2


@pytest.mark.parametrize(("queries", "runs", "warmup"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_nothing_to_time_is_an_error(queries: int, runs: int, warmup: int) -> None:
    with pytest.raises(ArgumentError):
        measure_latency(lambda i: None, queries, n_runs=runs, n_warmup=warmup)


def test_torch_is_kept_on_one_thread_and_restored() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        measure_latency(lambda i: seen.append(torch.get_num_threads()), 1, n_runs=1, n_warmup=0)
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
