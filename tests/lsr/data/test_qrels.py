from __future__ import annotations

from pathlib import Path

import pytest

from lsr.core.errors import DuplicateRecordError, RecordError
from lsr.core.records import Qrel
from lsr.data.bad_lines import BadLines
from lsr.data.qrels import read_any_qrels
from tests.helpers.files import write_lines


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    "lines",
    [
        ["query-id\tcorpus-id\tscore", "q 1\td1\t2", "q2\td1\t-1"],
        ["q 1\td1\t2", "q2\td1\t-1"],
        ["q 1\t0\td1\t2", "q2\t0\td1\t-1"],
    ],
)
def test_both_formats_with_and_without_header(
    tmp_path: Path, lines: list[str], suffix: str
) -> None:
    path = write_lines(tmp_path / f"a.tsv{suffix}", lines)
    assert list(read_any_qrels(path)) == [Qrel("q 1", "d1", 2), Qrel("q2", "d1", -1)]


def test_trec_lines_keep_their_iteration(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.trec", ["q1 Q0  d1   1"])
    assert list(read_any_qrels(path)) == [Qrel("q1", "d1", 1, "Q0")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["q1\td1"], "line 1: 2 columns, expected 3"),
        (["q1\td1\t1", "q1 0 d2 1"], "line 2: 4 columns where the first line has 3"),
        (["query-id\tcorpus-id\tscore", "q1\td1\tyes"], "line 2: The relevance 'yes'"),
        (["q1\td1\t1.0"], "line 1: The relevance '1.0' is no whole number"),
        (["q1\t\t1"], "line 1: A query id or a document id is empty"),
    ],
)
def test_bad_lines_are_numbered(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write_lines(tmp_path / "a.tsv", lines)
    with pytest.raises(RecordError, match=message):
        list(read_any_qrels(path))
    bad = BadLines(1)
    list(read_any_qrels(path, bad=bad))
    assert bad.n_skipped == 1


def test_a_header_is_one_only_in_the_first_line(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.tsv", ["q1\td1\t1", "query-id\tcorpus-id\tscore"])
    with pytest.raises(RecordError, match="line 2"):
        list(read_any_qrels(path))


def test_repetitions_pass_once_and_contradictions_are_errors(tmp_path: Path) -> None:
    same = write_lines(tmp_path / "a.tsv", ["q1\td1\t1", "q1\td1\t1", "q1\td2\t0"])
    assert list(read_any_qrels(same)) == [Qrel("q1", "d1", 1), Qrel("q1", "d2", 0)]
    other = write_lines(tmp_path / "b.tsv", ["q1\td1\t1", "q1\td1\t2"])
    with pytest.raises(DuplicateRecordError, match="line 2: .*judged twice, as 1 and as 2"):
        list(read_any_qrels(other))
