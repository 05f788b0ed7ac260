from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsr.core.errors import ArgumentError, DataError
from lsr.data.beir import BeirDataset
from lsr.data.example_files import open_examples, write_examples
from lsr.data.examples import Example, read_examples
from lsr.data.pairs import Pair, read_pairs
from tests.helpers.files import write_jsonl, write_lines

FLEA, ZEBRA, TEA = "Fleas A flea can jump.", "Zebras have stripes.", "Tea Tea is a drink."


@pytest.fixture
def dataset(make_beir: Callable[..., Path]) -> BeirDataset:
    return BeirDataset(make_beir())


def test_judgements_become_pairs_that_training_reads(dataset: BeirDataset, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.zst"
    found = open_examples("judgements", dataset=dataset, split="test")
    counts = write_examples(found, path, "pairs")
    assert counts == {"n_examples": 2, "n_lines": 2, "n_positives": 2, "n_negatives": 1}
    assert list(read_pairs([path])) == [
        Pair("what has stripes", ZEBRA, "tiny"),
        Pair("what jumps", FLEA, "tiny"),
    ]


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        ("id-triples", "2.5\t-1\tq1\td1\td2", ((FLEA,), (ZEBRA,), (2.5, -1.0))),
        ("scored-lists", '["q1", ["d1", 3], ["d3", 1]]', ((FLEA,), (TEA,), (3.0, 1.0))),
        (
            "hard-negatives",
            '{"qid": "q1", "pos": ["d1"], "neg": {"bm25": ["d2"], "x": ["d3"]}}',
            ((FLEA,), (ZEBRA, TEA), None),
        ),
    ],
)
def test_ids_become_texts_and_come_back_whole(
    dataset: BeirDataset, tmp_path: Path, kind: str, line: str, expected: Any
) -> None:
    source = write_lines(tmp_path / "source", [line])
    out = tmp_path / "out.jsonl"
    write_examples(open_examples(kind, path=source, dataset=dataset), out, "examples")
    assert list(read_examples(out)) == [Example("what jumps", *expected, "tiny")]


def test_scores_in_the_form_of_a_teachers_file(dataset: BeirDataset, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "source", ['["q1", ["d1", 3], ["d3", 1]]'])
    out = tmp_path / "scores.jsonl"
    write_examples(open_examples("scored-lists", path=source, dataset=dataset), out, "scores")
    assert json.loads(out.read_text()) == {
        "query": "what jumps",
        "passages": [FLEA, TEA],
        "scores": [3.0, 1.0],
    }


def test_files_of_texts_pass_through(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "set.jsonl", [{"query": "q", "positive": "p"}])
    assert list(open_examples("texts", path=source)) == [Example("q", ("p",), (), None, "set")]
    triples = write_lines(tmp_path / "t.tsv", ["q\tp\tn"])
    assert next(open_examples("text-triples", path=triples)).negatives == ("n",)


def test_wrong_use(dataset: BeirDataset, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "set.jsonl", [{"query": "q", "positive": "p"}])
    with pytest.raises(ArgumentError, match="Unknown kind of examples 'text'"):
        list(open_examples("text", path=source))
    with pytest.raises(ArgumentError, match="need a data set"):
        list(open_examples("judgements"))
    with pytest.raises(ArgumentError, match="'texts' need a file"):
        list(open_examples("texts", dataset=dataset))
    with pytest.raises(ArgumentError, match="by id: of a data set"):
        list(open_examples("id-triples", path=source))
    out = tmp_path / "out.jsonl"
    with pytest.raises(ArgumentError, match="Unknown form 'pair'.* Did you mean 'pairs'"):
        write_examples([], out, "pair")
    with pytest.raises(DataError, match="'q' has no scores"):
        write_examples(open_examples("texts", path=source), out, "scores")
    with pytest.raises(DataError, match="There is no training example"):
        write_examples([], out, "pairs")
    assert not out.exists()
