from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lsr.commands import encoder
from lsr.core.errors import ArgumentError, ArtifactExistsError, ConfigError, EncoderError, LsrError
from lsr.encoders import LexicalChannelEncoder, LexicalConfig, LexicalEncoder, load_encoder
from lsr.encoders.folding import fold_encoder
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


def write_lines(path: Path, *records: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_add_lexical_fits_on_corpora_and_on_pairs(tmp_path: Path) -> None:
    corpus = write_lines(
        tmp_path / "corpus.jsonl",
        {"_id": "1", "title": "Mice", "text": "Mice chase cats"},
        {"_id": "2", "title": "", "text": "Dogs chase mice"},
    )
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    # One passage of two questions counts once; what is excluded, not at all.
    one = {"query": "unread", "positive": "cats sleep"}
    write_lines(pairs / "kept.jsonl", one, {**one, "query": "again"})
    write_lines(pairs / "left.jsonl", {"query": "unread", "positive": "excluded"})
    made = run(
        "add-lexical", "lsr-tiny", "--corpus", corpus, "--pairs", pairs, "--exclude", "left",
        "--terms", "3", "--buckets", "4", "--weight", "0.7", "--max-terms", "90", "--k1", "1.5",
        "--b", "0.5", "--name", "both", "--out", tmp_path / "both",
    )  # fmt: skip
    assert (made["n_texts"], made["mean_length"]) == (3, 3)
    assert made["vocabulary_size"] == 30_522 + 3 + 4
    encoder = load_encoder(tmp_path / "both")
    assert isinstance(encoder, LexicalChannelEncoder)
    stems = [f"{stem}*" for stem in ("cat", "chase", "mice")]
    assert list(encoder.vocabulary.tokens[30_522:]) == [*stems, *(f"rare·{i}*" for i in range(4))]
    shown = run("info", tmp_path / "both")
    expected = {
        "name": "both", "kind": "LexicalChannelEncoder", "idf": "query",
        "query_side": "LookupQueryEncoder", "document_side": "OnnxEncoder",
        "document_max_length": 512, "learned_terms": 30_522, "lexical_terms": 3,
        "lexical_buckets": 4, "lexical_weight": 0.7, "k1": 1.5, "b": 0.5, "max_terms": 90,
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    fold_encoder(encoder).save(tmp_path / "folded")
    assert run("info", tmp_path / "folded")["lexical_weight"] == 0.7
    run("add-lexical", tmp_path / "both", "--corpus", corpus, "--out", tmp_path / "replaced")
    replaced = load_encoder(tmp_path / "replaced")
    assert isinstance(replaced, LexicalChannelEncoder)
    assert (replaced.name, replaced.max_terms) == ("both", None)
    assert replaced.learned.fingerprint == encoder.learned.fingerprint
    with pytest.raises(EncoderError, match="no query table with a masked-LM"):
        run("average", tmp_path / "both", tmp_path / "both", "--out", tmp_path / "mean")


def test_add_lexical_takes_a_fitted_one(tmp_path: Path) -> None:
    lexical = LexicalEncoder.fit(["cats chase mice"], config=LexicalConfig(buckets=2))
    lexical.save(tmp_path / "lexical")
    run("add-lexical", "lsr-tiny", "--lexical", tmp_path / "lexical", "--out", tmp_path / "both")
    encoder = load_encoder(tmp_path / "both")
    assert isinstance(encoder, LexicalChannelEncoder)
    assert encoder.lexical.fingerprint == lexical.fingerprint
    assert encoder.weight == 0.5


def test_add_lexical_refuses_before_it_reads(tmp_path: Path) -> None:
    command = ("add-lexical", "lsr-tiny", "--corpus", tmp_path / "missing.jsonl", "--out")
    with pytest.raises(ConfigError, match="mean_length"):
        run(*command, tmp_path / "new", "--mean-length", "-1")
    with pytest.raises(ArgumentError, match="weight must be"):
        run(*command, tmp_path / "new", "--weight", "0")
    with pytest.raises(ArtifactExistsError, match="exists already"):
        run(*command, tmp_path)
    with pytest.raises(ArgumentError, match="--corpus or --pairs"):
        run("add-lexical", "lsr-tiny", "--out", tmp_path / "new")
    both = ("--corpus", "toy", "--lexical", tmp_path)
    with pytest.raises(ArgumentError, match="or else --lexical"):
        run("add-lexical", "lsr-tiny", *both, "--out", tmp_path / "new")
    fitted = ("--lexical", tmp_path, "--out", tmp_path / "new")
    with pytest.raises(ArgumentError, match="--mean-length is for fitting"):
        run("add-lexical", "lsr-tiny", *fitted, "--mean-length", "9")
    side = load_encoder("lsr-tiny")
    side.save_query_side(tmp_path / "side")
    with pytest.raises(EncoderError, match="holds no lexical encoder"):
        run("add-lexical", "lsr-tiny", "--lexical", tmp_path / "side", "--out", tmp_path / "new")
    with pytest.raises(EncoderError, match="query side only"):
        run("add-lexical", tmp_path / "side", "--corpus", "toy", "--out", tmp_path / "new")
