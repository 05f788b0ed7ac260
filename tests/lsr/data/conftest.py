from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsr.core.settings import get_settings
from tests.helpers.files import write_jsonl


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty LSR_HOME and no LSR_DATA."""
    home = tmp_path / "home"
    monkeypatch.setenv("LSR_HOME", str(home))
    monkeypatch.delenv("LSR_DATA", raising=False)
    get_settings.cache_clear()
    yield home
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings reach caplog, though an earlier test may have run a command."""
    logger = logging.getLogger("lsr")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.NOTSET)


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that LSR_DATA names."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("LSR_DATA", str(root))
    get_settings.cache_clear()
    return root


@pytest.fixture
def make_beir(tmp_path: Path) -> Callable[..., Path]:
    """Write a small BEIR folder: three documents, three queries, two splits."""

    def make(folder: Path | None = None, *, suffix: str = "", **replaced: Any) -> Path:
        folder = folder or tmp_path / "tiny"
        (folder / "qrels").mkdir(parents=True)
        corpus = replaced.get("corpus") or [
            {"_id": "d1", "title": "Fleas", "text": "A flea can jump.", "metadata": {"url": "u1"}},
            {"_id": "d2", "title": "", "text": "Zebras have stripes."},
            {"_id": "d3", "title": "Tea", "text": "Tea is a drink."},
        ]
        queries = replaced.get("queries") or [
            {"_id": "q1", "text": "what jumps"},
            {"_id": "q2", "text": "what has stripes"},
            {"_id": "q3", "text": "what is drunk"},
        ]
        write_jsonl(folder / f"corpus.jsonl{suffix}", corpus)
        write_jsonl(folder / f"queries.jsonl{suffix}", queries)
        header = "query-id\tcorpus-id\tscore\n"
        (folder / "qrels" / "test.tsv").write_text(f"{header}q2\td2\t1\nq1\td1\t2\nq1\td3\t0\n")
        (folder / "qrels" / "train.trec").write_text("q3 0 d3 1\n")
        return folder

    return make
