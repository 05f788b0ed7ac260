from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lsr.commands import data
from lsr.core.errors import (
    ArtifactExistsError,
    DataError,
    DatasetNotFoundError,
    DocumentNotFoundError,
    LsrError,
    RecordError,
)
from lsr.core.settings import get_settings
from tests.helpers.files import write_jsonl, write_lines


@pytest.fixture(autouse=True)
def _fresh_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LSR_DATA", raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def run(*arguments: str | Path) -> str:
    """Return what a verb prints on standard output; its errors are raised."""
    app = typer.Typer()
    data.register(app)
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    if isinstance(result.exception, LsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str | Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return answer


def test_list_shows_every_name_and_its_state() -> None:
    names = {d["name"]: d for d in run_json("list")["datasets"]}
    assert names["toy"]["status"] == "shipped"
    assert names["scifact"]["status"] == "online"
    assert names["scifact"]["source"].endswith("scifact.zip")
    assert "toy" in run("list")


def test_get_unpacks_an_archive_of_a_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "set" / "corpus.jsonl", [{"_id": "a", "text": "x"}])
    (tmp_path / "root").mkdir()
    shutil.make_archive(str(tmp_path / "root" / "set"), "gztar", tmp_path, "set")
    monkeypatch.setenv("LSR_DATA", str(tmp_path / "root"))
    answer = run_json("get", "set")
    assert answer == {"name": "set", "path": str(tmp_path / "home" / "datasets" / "set")}
    assert run("get", "set") == f"set: {answer['path']}\n"
    with pytest.raises(DatasetNotFoundError):
        run("get", "unknown")


def test_peek_shows_documents_and_judged_queries() -> None:
    shown = run("peek", "toy", "-n", "1")
    assert "1973_oil_crisis_0  1973 oil crisis" in shown
    assert "When did they raise the price of oil to $5.11?" in shown
    assert "relevant: 1973_oil_crisis_5" in shown
    answer = run_json("peek", "toy", "-n", "2")
    assert len(answer["documents"]) == len(answer["queries"]) == 2
    assert answer["queries"][0]["relevant"] == ["1973_oil_crisis_5"]


def test_peek_finds_one_document() -> None:
    answer = run_json("peek", "toy", "--doc-id", "Force_3")
    assert [d["doc_id"] for d in answer["documents"]] == ["Force_3"]
    assert answer["queries"] == []
    with pytest.raises(DocumentNotFoundError, match="no document 'none'"):
        run("peek", "toy", "--doc-id", "none")


def test_peek_maps_fields(tmp_path: Path) -> None:
    record = {"key": 1, "meta": {"head": "H"}, "a": "first", "b": "second", "year": 1999}
    path = write_jsonl(tmp_path / "x.jsonl", [record])
    flags = ["--id-field", "key", "--text-field", "a", "--text-field", "b"]
    answer = run_json("peek", path, *flags, "--title-field", "meta.head")
    assert answer["documents"] == [
        {"doc_id": "1", "text": "first second", "title": "H", "metadata": {"year": 1999}}
    ]


def test_stats_reads_everything_and_reports_what_it_skipped(tmp_path: Path) -> None:
    good = '{"_id": "a", "text": "one two"}'
    path = write_lines(tmp_path / "x.jsonl", [good, "{", '{"_id": "b"}', good])
    with pytest.raises(RecordError, match="line 2") as caught:
        run("stats", path)
    assert caught.value.exit_status == 3
    answer = run_json("stats", path, "--skip-bad-lines", "3")
    assert answer["n_documents"] == 1
    assert answer["document_words"]["mean"] == 2.0
    assert answer["bad_lines"]["n_skipped"] == 3
    assert [e["line"] for e in answer["bad_lines"]["examples"]] == [2, 3, 4]
    assert answer["bad_lines"]["examples"][2]["code"] == "duplicate_id"
    with pytest.raises(RecordError, match="line 4"):
        run("stats", path, "--skip-bad-lines", "2")


def test_stats_of_the_shipped_collection() -> None:
    answer = run_json("stats", "toy")
    assert answer["n_documents"] == 2067
    assert answer["splits"]["test"]["n_relevant"] == 480
    assert answer["splits"]["test"]["n_qrels_without_document"] == 0
    assert "2,067" in run("stats", "toy")


def test_wrong_field_maps_are_errors(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [{"_id": "a", "text": "x"}])
    with pytest.raises(LsrError, match="two roles"):
        run("peek", path, "--title-field", "text")


def test_examples_of_judgements_and_of_a_file_with_ids(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    flags = ["--dataset", "toy", "--split", "test", "--out", out]
    answer = run_json("examples", "judgements", *flags)
    assert answer["n_examples"] == answer["n_lines"] == 480
    first = json.loads(out.read_text().splitlines()[0])
    assert first["query"] == "When did they raise the price of oil to $5.11?"
    assert first["source"] == "toy"
    with pytest.raises(ArtifactExistsError):
        run("examples", "judgements", *flags)
    triples = write_lines(
        tmp_path / "t.tsv", ["5725bcb6271a42140099d0ec\tForce_1\tForce_2", "x\tForce_1\tForce_2"]
    )
    flags = ["--from", triples, "--dataset", "toy", "--out", out, "--form", "examples"]
    with pytest.raises(DataError, match="toy has no query 'x'"):
        run("examples", "id-triples", *flags, "--overwrite")
    assert "1 queries, 1 positives, 1 negatives" in run(
        "examples", "id-triples", *flags, "--overwrite", "--skip-missing"
    )
