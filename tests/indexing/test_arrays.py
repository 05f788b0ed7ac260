"""A build's arrays are the same in memory and on disk, and readable by numpy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import ArrayTarget, DiskArrays, MemoryArrays
from indexing.jit import read_only
from indexing.quantization import Quantization
from indexing.source import MatrixSource
from lsr.core.artifact import open_array, read_manifest, write_artifact
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix, SparseVector


def fill(target: ArrayTarget) -> dict[str, np.ndarray]:
    target.allocate("whole", np.int64, (3,))[:] = [7, 8, 9]
    target.allocate("none", np.int32, (0, 4))
    for part in (np.arange(5), np.empty(0), np.arange(100_000)):
        target.append("folder/grown", part.astype(np.uint16))
    target.append("empty", np.empty(0, np.uint8))
    return target.finish()


def test_memory_and_disk(tmp_path: Path) -> None:
    expected = fill(MemoryArrays())
    assert len(expected["folder/grown"]) == 100_005
    manifest = Manifest.new("index", 1)
    with write_artifact(tmp_path / "x", manifest, overwrite=False) as writer:
        made = fill(DiskArrays(writer))
        for name, array in expected.items():
            np.testing.assert_array_equal(made[name], array)
            assert type(made[name]) is np.ndarray
    read = read_manifest(tmp_path / "x", kind="index", format_version=1)
    for name, array in expected.items():
        opened = open_array(tmp_path / "x", name, read)
        np.testing.assert_array_equal(opened, array)
        assert opened.dtype == array.dtype
        assert read_only(opened).flags.aligned


def test_close_after_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        write_artifact(tmp_path / "x", Manifest.new("index", 1), overwrite=False) as writer,
    ):
        target = DiskArrays(writer)
        try:
            target.append("a", np.arange(3))
            raise ZeroDivisionError
        finally:
            target.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("largest", [1e-30, 0.001, 1.0, 3.5, 65_000.0, 1e30])
def test_quantisation_errors_are_bounded(rng: np.random.Generator, largest: float) -> None:
    weights = (rng.random(1000) * largest).astype(np.float32)
    weights[0] = largest
    source = MatrixSource(
        SparseMatrix.from_rows([SparseVector.from_arrays(np.arange(1000), weights, 1000)], 1000)
    )
    quantization = Quantization.of(source)
    assert quantization.largest == np.float32(largest)
    fine = quantization.weights(quantization.fine(weights))
    assert (np.abs(fine - weights) <= weights * 2.0**-11 + largest * 2.0**-35).all()
    coarse = quantization.coarse(weights) / quantization.coarse_scale
    assert (np.abs(coarse - weights) <= largest / 510 * (1 + 1e-6)).all()
    mantissa, _ = np.frexp(quantization.fine_scale)
    assert mantissa == 0.5
