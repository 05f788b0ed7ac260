from __future__ import annotations

from pathlib import Path

import pytest

from eval.cache import Cache, Ran, content_hash, folder_hash, texts_hash
from eval.results import Efficiency, Truncation
from eval.runs import RunTable
from lsr.core.errors import ArtifactCorruptedError
from lsr.core.records import Document, Query, ScoredDoc


def test_hashes_follow_contents_only() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    documents = [Document("1", "x"), Document("2", "y", "t")]
    assert texts_hash(documents) == texts_hash(iter(documents))
    changed = [
        [Document("1", "x"), Document("2", "y")],
        [Document("1", "x"), Document("2", "yt")],
        [Document("2", "y", "t"), Document("1", "x")],
        [Document("1x", ""), Document("2", "y", "t")],
    ]
    assert len({texts_hash(c) for c in [documents, *changed]}) == 5
    assert texts_hash([Query("1", "x")]) != texts_hash([Query("1x", "")])


def test_a_folders_hash_is_over_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = folder_hash(tmp_path / "a")
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert folder_hash(tmp_path / "a") != before
    (tmp_path / "a" / "y").rename(tmp_path / "a" / "x")
    assert folder_hash(tmp_path / "a") == before


def _ran() -> Ran:
    lines = [ScoredDoc("q", "d", 1 / 3), ScoredDoc("q", "e", 0.25), ScoredDoc("r", "é", 0.1)]
    run = RunTable.from_scored(lines)
    return Ran(run, Efficiency(build_s=1.5), Truncation(query_tokens=64), ("a note",))


def test_a_run_comes_back_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.load_run("k") is None
    cache.save_run("k", _ran(), {"system": "x"})
    found = cache.load_run("k")
    assert found is not None
    assert list(found.run) == list(_ran().run)
    assert found[1:] == _ran()[1:]
    assert Cache(tmp_path / "cache", fresh=True).load_run("k") is None


def test_a_damaged_run_is_an_error_and_not_a_result(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.save_run("k", _ran(), {})
    file = tmp_path / "cache" / "runs" / "k" / "scores.npy"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ArtifactCorruptedError):
        cache.load_run("k")
