"""Selection finds the blocks that it should, the better first."""

from __future__ import annotations

import numpy as np
import pytest

from indexing import kernels_selection
from indexing import reference_clustered as reference
from indexing.jit import COMPILED, read_only
from indexing.kernels_arrays import Candidates, Sums
from tests.helpers.clustered import candidates_for, make_sums

MODULES = (kernels_selection, reference)


def random_sums(rng: np.random.Generator, n: int, dtype: type, most: int) -> Sums:
    """Return sums of one chunk or more with the maxima that belong to them."""
    sums = make_sums(n, dtype)
    sums.blocks[:] = rng.integers(0, most, n) * (rng.random(n) < 0.2)
    reference._tops(sums)
    return sums


def listed(candidates: Candidates, n: int) -> list[tuple[int, int]]:
    found = candidates.blocks[:n].tolist(), candidates.estimates[:n].tolist()
    return sorted(zip(*found, strict=True))


@pytest.mark.parametrize("n", [128, 1_024, 65_536 + 256])
@pytest.mark.parametrize(("dtype", "most", "shift"), [(np.uint8, 255, 8), (np.uint16, 60_000, 0)])
def test_lists_are_those_of_the_twin(
    n: int, dtype: type, most: int, shift: int, rng: np.random.Generator
) -> None:
    if not COMPILED and n > 1_024:
        pytest.skip("interpreted")
    sums = random_sums(rng, n, dtype, most)
    chosen = read_only(np.sort(rng.choice(n, n // 3, replace=False)).astype(np.uint32))
    ranges = [(1, 1 << 20), (most // 2, 1 << 20), (most // 3, most // 2), (most + 1, 1 << 20)]
    for least, below in ranges:
        out = []
        for module in MODULES:
            every, few = candidates_for(n), candidates_for(n)
            n_every = module.collect_blocks(sums, least, below, shift, every)  # type: ignore[attr-defined]
            n_few = module.collect_chosen(sums, chosen, least, below, shift, few)  # type: ignore[attr-defined]
            out.append((listed(every, n_every), listed(few, n_few)))
        assert out[0] == out[1]


@pytest.mark.parametrize("n_opened", [1, 40, 64, 130])
def test_lists_of_opened_are_those_of_the_twin(n_opened: int, rng: np.random.Generator) -> None:
    n = -(-n_opened // 64) * 1_024
    sums = make_sums(n, np.uint8)
    sums.blocks[:] = 0
    sums.blocks[: 16 * n_opened] = rng.integers(0, 255, 16 * n_opened)
    sums.groups[:] = sums.blocks.reshape(8, -1).max(axis=0)
    sums.tops[:] = sums.groups.reshape(8, -1).max(axis=0)
    ids = np.zeros(n // 16, np.uint32)
    ids[:n_opened] = np.sort(rng.choice(9_000, n_opened, replace=False))
    for least, below in ((1, 1 << 20), (200, 1 << 20), (100, 200)):
        out = []
        for module in MODULES:
            candidates = candidates_for(n)
            count = module.collect_opened(sums, ids, least, below, candidates)  # type: ignore[attr-defined]
            out.append(listed(candidates, count))
        assert out[0] == out[1]


@pytest.mark.parametrize("n", [0, 1, 500])
def test_the_order_is_that_of_the_twin(n: int, rng: np.random.Generator) -> None:
    out = []
    estimates = rng.integers(0, 65_536, n)
    for module in MODULES:
        candidates = candidates_for(max(1, n))
        candidates.estimates[:n] = estimates
        module.order_blocks(candidates, n)  # type: ignore[attr-defined]
        out.append(candidates.order[:n].tolist())
    assert out[0] == out[1]


def test_threshold_is_reached_by_what_is_wanted(rng: np.random.Generator) -> None:
    n = 32_768 if COMPILED else 1_024
    sums = rng.integers(0, 200, n).astype(np.uint8)
    groups = sums.reshape(8, -1).max(axis=0)
    tops = groups.reshape(8, -1).max(axis=0)
    for wanted in (1, 10, n // 50, n // 4, n - 1):
        found = kernels_selection.threshold_for(Sums(sums, groups, tops), wanted, np.uint8(1))
        threshold = int(found)
        assert threshold >= 1
        assert (sums >= threshold).sum() >= min(wanted, (sums > 0).sum())
        values = next((x for x in (tops, groups) if wanted * 4 <= len(x)), sums)
        assert (values >= threshold + 1).sum() < wanted
