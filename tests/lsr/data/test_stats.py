from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsr.data.beir import BeirDataset
from lsr.data.stats import dataset_stats
from tests.helpers.files import write_jsonl


def test_counts_of_a_small_collection(make_beir: Callable[..., Path]) -> None:
    folder = make_beir(
        corpus=[
            {"_id": "d1", "title": "Fleas", "text": "can jump"},
            {"_id": "d2", "title": " ", "text": ""},
            {"_id": "d4", "text": "one two three four"},
        ]
    )
    stats = dataset_stats(BeirDataset(folder))
    assert stats["n_documents"] == 3
    assert stats["n_empty_documents"] == 1
    assert stats["n_titles"] == 1
    assert stats["n_characters"] == len("Fleas can jump") + len("one two three four")
    assert stats["document_words"] == {"mean": 2.33, "p50": 3.0, "p95": 3.9, "max": 4.0}
    test, train = stats["splits"]["test"], stats["splits"]["train"]
    assert test["n_queries"] == 2
    assert test["n_qrels"] == 3
    assert test["n_relevant"] == 2
    assert test["highest_relevance"] == 2
    # d3 is judged (once relevant, in train; once not, in test) and not there.
    assert test["n_qrels_without_document"] == 1
    assert test["n_relevant_without_document"] == 0
    assert train["n_relevant_without_document"] == 1
    assert test["query_words"]["mean"] == 2.5


def test_judged_queries_that_are_missing(make_beir: Callable[..., Path]) -> None:
    folder = make_beir(queries=[{"_id": "q1", "text": "a"}])
    stats = dataset_stats(BeirDataset(folder))
    assert stats["splits"]["test"]["n_judged_queries_without_text"] == 1


def test_an_empty_collection(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", [])
    stats = dataset_stats(BeirDataset(tmp_path))
    assert stats["n_documents"] == 0
    assert stats["document_words"]["mean"] == 0.0
    assert stats["splits"] == {}
