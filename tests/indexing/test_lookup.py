"""The table look-up adds what a plain loop adds."""

from __future__ import annotations

import numpy as np

from indexing.jit import jit, read_only
from indexing.lookup import ROWS, STEP_BYTES, add_levels, add_super_block


@jit
def look_up(low, high, sums, dense, tables):  # type: ignore[no-untyped-def]
    add_levels(low, high, 0, dense, 0, STEP_BYTES, 2 * STEP_BYTES, 3 * STEP_BYTES, tables, 0)
    add_super_block(sums, 0, dense, 0, tables, 0)


def test_table_look_up_saturates(rng: np.random.Generator) -> None:
    dense = read_only(rng.integers(0, 256, ROWS * STEP_BYTES, dtype=np.uint8))
    tables = rng.integers(0, 120, 16 * ROWS, dtype=np.uint8)
    low, high = (rng.integers(0, 30, STEP_BYTES, dtype=np.uint8) for _ in range(2))
    sums = np.zeros((2, STEP_BYTES), np.int64)
    for row in range(ROWS):
        levels = dense[row * STEP_BYTES : (row + 1) * STEP_BYTES]
        table = tables[16 * row : 16 * row + 16].astype(np.int64)
        sums += [table[levels & 15], table[levels >> 4]]
    expected = np.minimum(sums + [low, high], 255)
    sums16 = np.full(16, 200, np.uint8)
    look_up(low, high, sums16, dense, tables)
    assert np.array_equal([low, high], expected)
    table = tables[:16].astype(np.int64)
    levels = dense[:8]
    wanted = np.minimum(200 + np.concatenate([table[levels & 15], table[levels >> 4]]), 255)
    assert np.array_equal(sums16, wanted)
