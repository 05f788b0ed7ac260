from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lsr.commands import encoder
from lsr.core.errors import ArgumentError, LsrError
from lsr.encoders import LexicalEncoder
from tests.helpers.tiny_model import tiny_masked_lm


def run(*arguments: str | Path) -> dict[str, Any]:
    app = typer.Typer()
    encoder.register(app)
    result = CliRunner().invoke(app, ["encoder", *map(str, arguments), "--json", "--quiet"])
    if isinstance(result.exception, LsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_info_of_a_light_encoder(tmp_path: Path) -> None:
    fitted = LexicalEncoder.fit(["one cat", "two dogs"])
    fitted.save(tmp_path / "e")
    shown = run("info", tmp_path / "e")
    assert (shown["kind"], shown["idf"]) == ("LexicalEncoder", "query")
    assert shown["vocabulary_size"] == 4
    assert shown["fingerprint"] == fitted.fingerprint
    assert shown["document_max_length"] is None


def test_export_and_its_info(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = tiny_masked_lm(tmp_path / "model")
    made = run("export", model, "--out", tmp_path / "light", "--weights", "int8", "--name", "tiny")
    assert made["bytes"] > 10_000
    shown = run("info", tmp_path / "light")
    assert (shown["name"], shown["document_side"]) == ("tiny", "OnnxEncoder")
    assert shown["document_max_length"] == 64
    with pytest.raises(ArgumentError, match="int3"):
        run("export", model, "--out", tmp_path / "x", "--weights", "int3")
