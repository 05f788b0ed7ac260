"""Every block has a slot of its own, and pointers to parts are where the builder put them."""

from __future__ import annotations

import numpy as np
import pytest

from indexing import kernels_geometry
from indexing.jit import COMPILED
from indexing.reference_clustered import slots_of


def width(n_blocks: int) -> int:
    return -(-(-(-n_blocks // 16) * 8) // 64) * 64


@pytest.mark.parametrize("n_blocks", [1, 7, 8, 16, 17, 65_535, 65_536, 65_537, 131_080])
def test_slots_and_blocks_are_each_others_inverse(n_blocks: int) -> None:
    bytes_ = width(n_blocks)
    seen = set()
    step = 1 if n_blocks < 100 or COMPILED else 997
    for block in {*range(0, n_blocks, step), n_blocks - 1}:
        slot = int(kernels_geometry.slot_of(block, bytes_))
        chunk = block // kernels_geometry.CHUNK_BLOCKS
        start = chunk * kernels_geometry.CHUNK_BYTES
        size = min(kernels_geometry.CHUNK_BYTES, bytes_ - start)
        assert 0 <= slot < 2 * bytes_
        assert int(kernels_geometry.block_of(slot - 2 * start, size, chunk)) == block
        seen.add(slot)
    assert len(seen) == len({*range(0, n_blocks, step), n_blocks - 1})


@pytest.mark.parametrize("n_blocks", [5, 1_024, 65_536, 70_001])
def test_slots_are_those_of_the_twin(n_blocks: int, rng: np.random.Generator) -> None:
    expected = slots_of(n_blocks, width(n_blocks))
    for block in rng.integers(0, n_blocks, 200):
        assert int(kernels_geometry.slot_of(block, width(n_blocks))) == expected[block]


@pytest.mark.parametrize("n_blocks", [5, 1_024, 1_025, 65_536, 66_000, 140_000])
def test_pointers_of_parts_follow_each_other(n_blocks: int) -> None:
    bytes_, n_terms = width(n_blocks), 3
    n_parts = -(-n_blocks // kernels_geometry.PART_BLOCKS)
    places = []
    for chunk in range(-(-n_blocks // kernels_geometry.CHUNK_BLOCKS)):
        first = chunk * kernels_geometry.CHUNK_PARTS
        last = min(n_parts, first + kernels_geometry.CHUNK_PARTS)
        for term in range(n_terms):
            places += [
                int(kernels_geometry.part_at(part, bytes_, n_terms, term))
                for part in range(first, last)
            ]
        # The end of the chunk's lists.
        places.append(places[-1] + 1)
    assert places == list(range(len(places)))
