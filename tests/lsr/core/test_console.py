from __future__ import annotations

import json

import pytest

from lsr.core import console


def test_json_and_text_results(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[int] = []
    try:
        console.configure(json_output=True)
        console.emit({"a": 1, "ü": "ß"}, lambda: shown.append(1))
        assert json.loads(capsys.readouterr().out) == {"a": 1, "ü": "ß"}
        assert not shown
        console.configure(json_output=False)
        console.emit({"a": 1}, lambda: shown.append(1))
        assert shown == [1]
    finally:
        console.configure()


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.track([1, 2, 3], "counting", 3)) == [1, 2, 3]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_tables_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(["name", "value"], [["x", 0.5], ["y", 2.0]])
    out = capsys.readouterr().out
    assert "0.5000" in out and "name" in out
