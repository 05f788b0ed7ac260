from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lsr.core.errors import DataError, DocumentNotFoundError
from lsr.data import lookup
from lsr.data.beir import BeirDataset
from lsr.data.examples import Example, IdExample, split_examples
from lsr.data.lookup import DocumentTexts, resolve_examples
from lsr.data.toy import load_toy

Maker = Callable[..., Path]


def test_texts_by_id(make_beir: Maker) -> None:
    with DocumentTexts(BeirDataset(make_beir(suffix=".gz"))) as texts:
        assert len(texts) == 3
        assert texts["d1"] == "Fleas A flea can jump."
        assert texts["d2"] == "Zebras have stripes."
        assert "d3" in texts
        assert "d4" not in texts
        assert 3 not in texts
        with pytest.raises(DocumentNotFoundError, match="tiny has no document 'd4'"):
            texts["d4"]


def test_only_what_is_wanted_is_kept(make_beir: Maker) -> None:
    dataset = BeirDataset(make_beir())
    with DocumentTexts(dataset, only={"d2"}) as texts:
        assert len(texts) == 1
        assert "d1" not in texts
    with DocumentTexts(dataset, only=()) as texts:
        assert len(texts) == 0
        assert "d1" not in texts


def test_ids_of_equal_hash_are_told_apart(
    make_beir: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "hash", lambda doc_id: len(doc_id), raising=False)
    with DocumentTexts(BeirDataset(make_beir())) as texts:
        assert texts["d3"] == "Tea Tea is a drink."
        assert texts["d1"] == "Fleas A flea can jump."
        assert "d9" not in texts


def test_the_shipped_collection_comes_back_whole() -> None:
    toy = load_toy()
    with DocumentTexts(toy) as texts:
        assert all(texts[d.doc_id] == d.content for d in toy.documents())


def test_nothing_is_left_on_disk(make_beir: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with DocumentTexts(BeirDataset(make_beir()), folder=folder) as texts:
        assert len(texts) == 3
    assert list(folder.iterdir()) == []


def test_ids_become_texts(make_beir: Maker) -> None:
    dataset = BeirDataset(make_beir())
    with DocumentTexts(dataset) as texts:
        examples = list(resolve_examples(split_examples(dataset, "test"), dataset, texts))
    assert examples == [
        Example("what has stripes", ("Zebras have stripes.",), (), None, "tiny"),
        Example("what jumps", ("Fleas A flea can jump.",), ("Tea Tea is a drink.",), None, "tiny"),
    ]


def test_what_is_missing_is_an_error_or_left_out_with_its_score(make_beir: Maker) -> None:
    dataset = BeirDataset(make_beir())
    given = [
        IdExample("q1", ("d1", "x"), ("y", "d2"), (4.0, 3.0, 2.0, 1.0)),
        IdExample("q9", ("d1",)),
        IdExample("q1", ("x",), ("d1",)),
        IdExample("q2", (), ("d2", "x"), (1.0, 0.0)),
    ]
    with DocumentTexts(dataset) as texts:
        kept = list(resolve_examples(given, dataset, texts, skip_missing=True))
        assert kept == [
            Example(
                "what jumps",
                ("Fleas A flea can jump.",),
                ("Zebras have stripes.",),
                (4.0, 1.0),
                "tiny",
            ),
            Example("what has stripes", (), ("Zebras have stripes.",), (1.0,), "tiny"),
        ]
        with pytest.raises(DataError, match="tiny has no document 'x'"):
            list(resolve_examples(given[:1], dataset, texts))
        with pytest.raises(DataError, match="tiny has no query 'q9'"):
            list(resolve_examples(given[1:2], dataset, texts))
