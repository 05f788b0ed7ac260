from __future__ import annotations

from pathlib import Path

import pytest

from lsr.core.errors import (
    ArgumentError,
    DataError,
    DuplicateIdError,
    DuplicateRecordError,
    RecordError,
    WeightError,
    WeightRecordError,
)
from lsr.data.bad_lines import BadLines, read_lines, read_records
from tests.helpers.files import write_bytes, write_lines


def number(line: str) -> int:
    if not line.isdigit():
        raise DataError(f"{line!r} is no number.", hint="Write digits.")
    return int(line)


def test_no_budget_raises_at_the_first_bad_line_and_says_how_to_skip(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", ["1", "x", "3"])
    records = read_records(path, number, BadLines())
    assert next(records) == 1
    with pytest.raises(RecordError) as caught:
        next(records)
    assert caught.value.line == 2
    assert caught.value.path == str(path)
    assert caught.value.message == f"{path}, line 2: 'x' is no number."
    assert caught.value.hint.startswith("Write digits.")
    assert "--skip-bad-lines" in caught.value.hint


def test_the_budget_is_spent_and_the_next_bad_line_is_an_error(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", ["x", "1", "y", "2", "z"])
    bad = BadLines(2)
    with pytest.raises(RecordError, match="line 5: 'z'") as caught:
        list(read_records(path, number, bad))
    assert "--skip-bad-lines 2 allows" in caught.value.hint
    exact = BadLines(3)
    assert list(read_records(path, number, exact)) == [1, 2]
    assert exact.n_skipped == 3


def test_the_budget_counts_over_files_but_a_line_once(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.txt", ["x", "1"])
    second = write_lines(tmp_path / "b.txt", ["y", "2"])
    bad = BadLines(2)
    for _ in range(3):
        assert list(read_records(first, number, bad)) == [1]
        assert list(read_records(second, number, bad)) == [2]
    assert bad.n_skipped == 2


def test_report_names_lines_and_reasons_and_stops_at_twenty(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", ["x"] * 23)
    bad = BadLines(30)
    assert list(read_records(path, number, bad)) == []
    lines = bad.report().splitlines()
    assert lines[0] == "23 bad lines skipped (budget 30):"
    assert lines[1] == f"  {path}, line 1: 'x' is no number."
    assert lines[-1] == "  … and 3 more"
    assert len(lines) == 22
    account = bad.to_json()
    assert account["n_skipped"] == 23
    assert account["examples"][1] == {
        "path": str(path),
        "line": 2,
        "code": "record_invalid",
        "message": "'x' is no number.",
    }


def test_log_speaks_only_when_something_was_skipped(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadLines(1)
    bad.log()
    assert not caplog.records
    bad.skip(RecordError("No id.", path="a.jsonl", line=7))
    bad.log()
    assert "a.jsonl, line 7: No id." in caplog.text


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(DuplicateIdError, DuplicateRecordError), (WeightError, WeightRecordError)],
)
def test_the_kind_of_problem_survives_the_numbering(
    tmp_path: Path, raised: type[DataError], expected: type[RecordError]
) -> None:
    path = write_lines(tmp_path / "a.txt", ["x"])

    def parse(line: str) -> None:
        raise raised("bad")

    with pytest.raises(expected) as caught:
        list(read_records(path, parse, BadLines()))
    assert isinstance(caught.value, raised)
    assert caught.value.code == raised.code
    assert caught.value.line == 1


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ArgumentError, match="0 or more, got -1"):
        BadLines(-1)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_end_at_newlines_alone_and_blank_ones_are_passed_over(
    tmp_path: Path, suffix: str
) -> None:
    text = "\ufeffa\r\n\n \t\nb\rb\u2028b\x85b\n\nlast"
    path = write_bytes(tmp_path / f"a.txt{suffix}", text.encode())
    assert list(read_lines(path, BadLines())) == [(1, "a"), (4, "b\rb\u2028b\x85b"), (6, "last")]


def test_a_line_that_is_not_utf8_is_numbered_and_can_be_skipped(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.txt", b"one\nt\xffwo\nthree\n")
    with pytest.raises(RecordError, match=r"line 2: Not UTF-8: byte 2 of the line is 0xff"):
        list(read_lines(path, BadLines()))
    bad = BadLines(1)
    assert list(read_lines(path, bad)) == [(1, "one"), (3, "three")]
    assert bad.n_skipped == 1


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_off_file_is_damaged_whatever_the_budget(tmp_path: Path, suffix: str) -> None:
    path = write_lines(tmp_path / f"a.txt{suffix}", (f"line {i * 7919}" for i in range(50_000)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged"):
        list(read_lines(path, BadLines(1000)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No file at"):
        list(read_lines(tmp_path / "none.txt", BadLines()))
