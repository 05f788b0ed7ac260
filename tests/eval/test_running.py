from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval import searching, workbench
from eval.running import Runner, run_suite
from eval.suite import Suite
from eval.workbench import BenchOptions, Workbench, resolve_model
from lsr.core.errors import ArgumentError, DownloadError
from tests.helpers.evaluation import write_beir

pytest.importorskip("ir_measures")

LEXICAL = {"name": "lexical", "kind": "sparse", "encoder": "lexical"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three collections with the same content, found by name."""
    for name in ("one", "two", "arguana"):
        write_beir(tmp_path / "data", name)
    monkeypatch.setenv("LSR_DATA", str(tmp_path / "data"))
    from lsr.core.settings import get_settings

    get_settings.cache_clear()
    yield tmp_path / "data"  # type: ignore[misc]
    get_settings.cache_clear()


class _Words:
    """A dense encoder without a model: one dimension a word of the small collection."""

    name = "words"
    fingerprint = "words-1"
    max_tokens = 9
    WORDS = ("warm", "cat", "river", "stones", "mouse", "cats", "wool", "dogs")

    def encode(self, texts: Any, **kwargs: Any) -> np.ndarray:
        rows = [[float(w in t.lower().split()) for w in self.WORDS] for t in texts]
        return np.array(rows, dtype=np.float32)


def _runner(tmp_path: Path, systems: list[dict[str, Any]], **changes: Any) -> Runner:
    collections = [
        {"name": n, "source": n, "measures": ["RR@10", "nDCG@10"]} for n in ("one", "two")
    ]
    suite = Suite.model_validate(
        {"name": "s", "collections": changes.pop("collections", collections), "systems": systems}
    )
    options = BenchOptions(cache=tmp_path / "cache", n_threads=1, timing=False, **changes)
    return Runner(suite, options, command="lsr eval report s")


def test_a_sparse_system_is_searched_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _runner(tmp_path, [LEXICAL]).result("one", "lexical")
    assert first.measures["RR@10"] == 2.5 / 4
    assert (first.dataset, first.system) == ("one", "lexical")
    assert first.command == "lsr eval report s -c one -s lexical"
    assert first.efficiency.recall_at_10 == 1.0
    assert first.efficiency.sparsity is not None

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(searching, "search_run", never)
    again = _runner(tmp_path, [LEXICAL]).result("one", "lexical")
    assert again.per_query == first.per_query
    assert again.efficiency == first.efficiency
    # The same texts under another name are the same entry.
    assert _runner(tmp_path, [LEXICAL]).result("two", "lexical").measures == first.measures
    with pytest.raises(AssertionError, match="searched again"):
        _runner(tmp_path, [LEXICAL], fresh=True).result("one", "lexical")


def test_other_texts_are_another_entry(data: Path, tmp_path: Path) -> None:
    before = _runner(tmp_path, [LEXICAL]).result("one", "lexical")
    corpus = data / "one" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("warm mat", "cold mat"))
    after = _runner(tmp_path, [LEXICAL]).result("one", "lexical")
    assert after.measures != before.measures


def test_a_cost_is_measured_when_asked_for(data: Path, tmp_path: Path) -> None:
    runner = _runner(tmp_path, [LEXICAL])
    options = BenchOptions(cache=tmp_path / "cache", n_threads=1)
    assert runner.result("one", "lexical").efficiency.search is None
    timed = Runner(runner.suite, options).result("one", "lexical")
    assert timed.efficiency.search is not None
    # A timed run answers a question without times too.
    assert _runner(tmp_path, [LEXICAL]).result("one", "lexical").efficiency == timed.efficiency


def test_dense_systems_and_hybrids(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(Workbench, "dense_encoder", lambda self, name: _Words())
    systems = [
        LEXICAL,
        {"name": "dense", "kind": "dense", "encoder": "words"},
        {"name": "hnsw", "kind": "dense", "encoder": "words", "index": "hnsw", "m": 4},
        {"name": "rrf", "kind": "rrf", "of": ["lexical", "dense"]},
        {"name": "mix", "kind": "convex", "of": ["lexical", "dense"], "tuned_on": ["one", "two"]},
        {"name": "fixed", "kind": "convex", "of": ["lexical", "dense"], "weight": 1.0},
        {"name": "again", "kind": "rerank", "first": "dense", "by": "lexical", "depth": 6},
        {"name": "back", "kind": "rerank", "first": "lexical", "by": "dense"},
    ]
    runner = _runner(tmp_path, systems)
    results, skipped = run_suite(runner)
    assert not skipped
    assert len(results) == 16
    by_name = {(r.dataset, r.system): r for r in results}
    dense = by_name["one", "dense"]
    assert dense.per_query["RR@10"]["q1"] == 1.0
    assert dense.truncation.document_tokens == 9
    assert by_name["one", "hnsw"].efficiency.recall_at_10 == 1.0
    # All weight on one run keeps its order; what only the other lists comes behind it.
    fixed, lexical = (by_name["one", name].per_query["RR@10"] for name in ("fixed", "lexical"))
    assert all(fixed[q] == lexical[q] for q in ("q1", "q2", "d5"))
    assert "tuned on two" in by_name["one", "mix"].notes[-1]
    assert "tuned on one" in by_name["two", "mix"].notes[-1]
    # Re-ranked by lexical scores: the order of the lexical run, where it has a score at all.
    first, again = (runner.ran("one", name).run for name in ("lexical", "again"))
    docs, scores = again.results("q1")
    assert [d for d, s in zip(docs, scores, strict=True) if s > 0] == first.results("q1")[0]


def test_a_run_file_is_a_system(data: Path, tmp_path: Path) -> None:
    (data / "one" / "runs").mkdir()
    (data / "one" / "runs" / "x.trec").write_text("q1 Q0 d1 1 1.0 x\nq2 Q0 d9 1 1.0 x\n")
    stored = {"name": "stored", "kind": "run", "runs": {"one": "runs/x.trec"}}
    runner = _runner(
        tmp_path,
        [
            {**LEXICAL, "hidden": True},
            stored,
            {"name": "r", "kind": "rerank", "first": "stored", "by": "lexical"},
        ],
    )
    results, skipped = run_suite(runner)
    assert "lexical" not in {r.system for r in results}, "a hidden part is not reported"
    by_name = {(r.dataset, r.system): r for r in results}
    assert by_name["one", "stored"].per_query["RR@10"]["q1"] == 1.0
    assert by_name["one", "r"].notes[-1] == "1 results of the first run are not in the collection"
    assert {(s.collection, s.system) for s in skipped} == {("two", "stored"), ("two", "r")}


def test_self_matches_go_before_fusion(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(Workbench, "dense_encoder", lambda self, name: _Words())
    systems = [
        LEXICAL,
        {"name": "dense", "kind": "dense", "encoder": "words"},
        {"name": "mix", "kind": "convex", "of": ["lexical", "dense"], "weight": 0.5},
    ]
    runner = _runner(tmp_path, systems, collections=[{"name": "arguana", "source": "arguana"}])
    for name in ("lexical", "mix"):
        result = runner.result("arguana", name)
        assert result.per_query["nDCG@10"]["d5"] > 0.6
        assert "d5" not in runner.ran("arguana", name).run.results("d5")[0]
    # The best score left is what others are divided by.
    assert runner.ran("arguana", "mix").run.results("d5")[1][0] == 1.0
    assert "self-matches dropped" in runner.result("arguana", "lexical").notes[-1]


def test_what_is_absent_is_skipped_with_its_reason(data: Path, tmp_path: Path) -> None:
    collections = [{"name": "one", "source": "one"}, {"name": "lost", "source": "nowhere"}]
    absent = {"name": "m", "kind": "sparse", "encoder": "no-such-model"}
    runner = _runner(tmp_path, [LEXICAL, absent], collections=collections)
    results, skipped = run_suite(runner)
    assert [(r.dataset, r.system) for r in results] == [("one", "lexical")]
    reasons = {(s.collection, s.system): s.reason for s in skipped}
    assert "nowhere" in reasons["lost", "lexical"]
    assert "no-such-model" in reasons["one", "m"]


def test_the_other_source_is_tried(data: Path, tmp_path: Path) -> None:
    collections = [{"name": "x", "source": "nowhere", "otherwise": "two"}]
    runner = _runner(tmp_path, [LEXICAL], collections=collections)
    assert runner.result("x", "lexical").n_queries == 4


def test_wrong_combinations_are_errors(data: Path, tmp_path: Path) -> None:
    mixed = {"name": "mix", "kind": "rrf", "of": ["lexical", "lexical"]}
    by_mix = {"name": "r", "kind": "rerank", "first": "lexical", "by": "mix"}
    with pytest.raises(ArgumentError, match="cannot re-rank by 'mix'"):
        _runner(tmp_path, [LEXICAL, mixed, by_mix]).result("one", "r")
    self_tuned = {"name": "m", "kind": "convex", "of": ["lexical", "lexical"], "tuned_on": ["one"]}
    with pytest.raises(ArgumentError, match="itself"):
        _runner(tmp_path, [LEXICAL, self_tuned]).result("one", "m")
    params = {**LEXICAL, "name": "p", "params": {"max_blocks": 3}}
    with pytest.raises(ArgumentError, match="no search parameters"):
        _runner(tmp_path, [params]).result("one", "p")


def test_models_are_looked_for_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    assert resolve_model("m", tmp_path) == str(tmp_path / "m")
    assert resolve_model("other", tmp_path) == "other"
    assert resolve_model("m", None) == "m"


def test_embeddings_are_kept_and_go_on_after_an_interruption(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    calls: list[int] = []

    class Interrupted(_Words):
        def encode(self, texts: Any, **kwargs: Any) -> np.ndarray:
            if len(calls) == 1:
                calls.append(0)
                raise KeyboardInterrupt
            calls.append(len(texts))
            return super().encode(texts)

    monkeypatch.setattr(Workbench, "dense_encoder", lambda self, name: Interrupted())
    monkeypatch.setattr(workbench, "_PART", 5)
    dense = [{"name": "dense", "kind": "dense", "encoder": "words"}]
    with pytest.raises(KeyboardInterrupt):
        _runner(tmp_path, dense).result("one", "dense")
    found = _runner(tmp_path, dense).result("one", "dense")
    assert calls == [5, 0, 1, 4], "the sixth document alone, then the four queries"
    assert found.efficiency.encode_documents_per_s is None
    again = _runner(tmp_path, dense, fresh=True).result("one", "dense")
    assert calls == [5, 0, 1, 4]
    assert again.measures == found.measures


def test_a_collection_that_cannot_be_fetched_is_skipped_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def unreachable(self: Workbench) -> str:
        tries.append(self.collection.name)
        raise DownloadError("no network")

    hashed = Workbench.documents_hash.func
    monkeypatch.setattr(
        Workbench,
        "documents_hash",
        property(lambda b: unreachable(b) if b.collection.name == "one" else hashed(b)),
    )
    other = {**LEXICAL, "name": "again"}
    results, skipped = run_suite(_runner(tmp_path, [LEXICAL, other]))
    assert [(s.collection, s.system) for s in skipped] == [("one", "lexical"), ("one", "again")]
    assert {s.reason for s in skipped} == {"no network"}
    assert tries == ["one"]
    assert [(r.dataset, r.system) for r in results] == [("two", "lexical"), ("two", "again")]
