from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.data import seen
from lsr.data.seen import SeenIds


@given(st.lists(st.text(max_size=3), max_size=200), st.integers(1, 20))
def test_agrees_with_a_set(names: list[str], pending: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "_PENDING", pending)
        ids, plain = SeenIds(), set()
        for name in names:
            assert ids.add(name) is (name not in plain)
            plain.add(name)
            assert len(ids) == len(plain)


def test_finds_repetitions_across_many_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_PENDING", 100)
    ids = SeenIds()
    assert all(ids.add(f"doc-{i}") for i in range(5000))
    assert not any(ids.add(f"doc-{i}") for i in range(5000))
    assert len(ids) == 5000
