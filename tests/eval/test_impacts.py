from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eval.impacts import quantise, write_impacts
from lsr.core.artifact import read_manifest
from lsr.core.errors import ArgumentError, DataError
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary


def _matrix(*rows: dict[int, float]) -> SparseMatrix:
    return SparseMatrix.from_rows([SparseVector.from_mapping(r, 4) for r in rows], 4)


def test_weights_become_whole_numbers_and_small_ones_vanish() -> None:
    made = quantise(_matrix({0: 1.234, 1: 0.004}, {}, {2: 0.5, 3: 0.016}), scale=100)
    made.check()
    assert made == _matrix({0: 123}, {}, {2: 50, 3: 2})


def test_it_is_exact_on_every_row(rng: np.random.Generator) -> None:
    dense = rng.random((30, 12)) * (rng.random((30, 12)) < 0.3)
    made = quantise(SparseMatrix.from_scipy(dense), scale=7).check()
    assert np.array_equal(made.to_scipy().toarray(), np.rint(dense.astype(np.float32) * 7.0))


def test_scales_out_of_range_are_errors() -> None:
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ArgumentError):
            quantise(_matrix({0: 1.0}), scale=scale)
    with pytest.raises(DataError, match="smaller scale"):
        quantise(_matrix({0: 400.0}), scale=100)


def test_the_export_is_anserinis_format(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["cat", "##s", "dog", "x"])
    out = write_impacts(
        tmp_path / "impacts",
        [(_matrix({0: 1.0, 1: 0.5}), ["a"]), (_matrix({2: 2.0}, {}), ["b", "c"])],
        _matrix({0: 0.02, 2: 0.03}, {}),
        ["q1", "q2"],
        vocabulary,
        idf="query",
        encoder="test",
    )
    files = sorted((out / "corpus").iterdir())
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert records == [
        {"id": "a", "contents": "", "vector": {"cat": 100, "##s": 50}},
        {"id": "b", "contents": "", "vector": {"dog": 200}},
        {"id": "c", "contents": "", "vector": {}},
    ]
    assert (out / "queries.tsv").read_text() == "q1\tcat cat dog dog dog\nq2\t\n"
    details = read_manifest(out, kind="impacts", format_version=1).details
    assert (details["idf"], details["scale"]) == ("query", 100.0)


def test_tokens_that_lucene_would_split_are_refused(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a b", "", "c", "d"])
    arguments = {"idf": "none", "encoder": "test"}
    for term in (0, 1):
        with pytest.raises(DataError, match="white space"):
            write_impacts(
                tmp_path / "x", [(_matrix({term: 1.0}), ["a"])], None, [], vocabulary, **arguments
            )
    write_impacts(tmp_path / "y", [(_matrix({2: 1.0}), ["a"])], None, [], vocabulary, **arguments)
    assert not (tmp_path / "y" / "queries.tsv").exists()
