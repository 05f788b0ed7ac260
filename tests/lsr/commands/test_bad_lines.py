"""Broken lines and foreign fields pass through the whole chain with the same flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from indexing import commands as index_commands
from lsr.commands import encode
from lsr.core.errors import LsrError, RecordError
from tests.helpers.files import write_lines

LINES = [
    '{"key": 1, "body": "fleas jump", "url": "u"}',
    '{"key": 2, "body": ',
    '{"key": 3, "body": "zebras have stripes"}',
    '{"key": 1, "body": "twice"}',
]


def run(*arguments: str | Path) -> dict[str, Any]:
    app = typer.Typer()
    encode.register(app)
    index_commands.register(app)
    result = CliRunner().invoke(app, [*map(str, arguments), "--json", "--quiet"])
    if isinstance(result.exception, LsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_encode_and_index_with_the_same_flags(tmp_path: Path) -> None:
    corpus = write_lines(tmp_path / "corpus.jsonl", LINES)
    flags = ["--id-field", "key", "--text-field", "body", "--title-field", ""]
    with pytest.raises(RecordError, match=r"corpus.jsonl, line 2: Broken JSON"):
        run("encode", corpus, "--out", tmp_path / "v", *flags)
    with pytest.raises(RecordError, match=r"corpus.jsonl, line 4: The document id '1'"):
        run("encode", corpus, "--out", tmp_path / "v", *flags, "--skip-bad-lines", "1")
    flags += ["--skip-bad-lines", "2"]
    made = run("encode", corpus, "--out", tmp_path / "v", *flags)
    assert made["n_texts"] == 2
    assert made["n_bad_lines_skipped"] == 2
    index = tmp_path / "index"
    info = run("index", "build", tmp_path / "v", "--out", index, "--corpus", corpus, *flags)
    assert info["n_documents"] == 2
    assert info["has_documents"]
