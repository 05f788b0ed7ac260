from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import DataError, DuplicateIdError, RecordError
from lsr.core.records import Qrel, ScoredDoc
from lsr.core.trec import read_qrels, read_run, write_qrels, write_run

scores = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(scores, min_size=1, max_size=20))
def test_scores_are_not_rounded(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    path = tmp_path_factory.mktemp("run") / "run.trec"
    run = [ScoredDoc("q1", f"d{n}", np.float32(v)) for n, v in enumerate(values)]
    assert write_run(path, run) == len(run)
    assert [np.float32(s.score) for s in read_run(path)] == [s.score for s in run]


@pytest.mark.parametrize("name", ["run.trec", "run.trec.gz"])
def test_ranks_start_again_for_each_query(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    run = [ScoredDoc("a", "x", 2.5), ScoredDoc("a", "y", 1.0), ScoredDoc("b", "x", 0.1)]
    write_run(path, run, tag="test")
    assert list(read_run(path)) == run
    if path.suffix == ".trec":
        lines = path.read_text().splitlines()
        assert lines == ["a Q0 x 1 2.5 test", "a Q0 y 2 1.0 test", "b Q0 x 1 0.1 test"]


def test_what_the_format_cannot_carry(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="white space"):
        write_run(tmp_path / "r", [ScoredDoc("q", "two words", 1.0)])
    with pytest.raises(DataError, match="one word"):
        write_run(tmp_path / "r", [], tag="my run")


@pytest.mark.parametrize(
    ("line", "message"),
    [("q Q0 d 1 1.0", "5 fields"), ("q Q0 d 1 abc t", "'abc'"), ("q Q0 d 1 nan t", "'nan'")],
)
def test_broken_lines_have_a_number(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "r").write_text(f"q Q0 other 1 2.0 t\n{line}\n")
    with pytest.raises(RecordError, match=f"line 2: .*{message}"):
        list(read_run(tmp_path / "r"))


def test_a_document_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("q Q0 d 1 2.0 t\nq Q0 d 2 1.0 t\n")
    with pytest.raises(DuplicateIdError, match="line 2"):
        list(read_run(tmp_path / "r"))


def test_qrels(tmp_path: Path) -> None:
    qrels = [Qrel("q", "d", 2), Qrel("q", "e", 0, "Q0")]
    write_qrels(tmp_path / "q", qrels)
    assert list(read_qrels(tmp_path / "q")) == qrels
    (tmp_path / "q").write_text("q 0 d high\n")
    with pytest.raises(RecordError, match="'high' is no integer"):
        list(read_qrels(tmp_path / "q"))
    with pytest.raises(DataError, match="No file"):
        list(read_qrels(tmp_path / "none"))
