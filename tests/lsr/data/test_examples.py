from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsr.core.errors import ArgumentError, DatasetNotFoundError, RecordError
from lsr.data.bad_lines import BadLines
from lsr.data.beir import BeirDataset
from lsr.data.examples import (
    Example,
    IdExample,
    read_examples,
    read_hard_negatives,
    read_id_triples,
    read_scored_lists,
    read_text_triples,
    split_examples,
)
from tests.helpers.files import write_jsonl, write_lines


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"query": "q", "positive": "p"}, Example("q", ("p",), (), None, "set")),
        (
            {"anchor": "q", "positive": "p", "negative": "n", "source": "s"},
            Example("q", ("p",), ("n",), None, "s"),
        ),
        (
            {"query": "q", "positives": ["p"], "negatives": ["n", "m"], "scores": [3, 1.5, -2]},
            Example("q", ("p",), ("n", "m"), (3.0, 1.5, -2.0), "set"),
        ),
        (
            {
                "query": "q",
                "positive_passages": [{"docid": "1", "title": "T", "text": "p"}],
                "negative_passages": [{"docid": "2", "title": "", "text": "n"}],
            },
            Example("q", ("T p",), ("n",), None, "set"),
        ),
    ],
)
def test_texts_in_every_published_form(
    tmp_path: Path, record: dict[str, Any], expected: Example
) -> None:
    path = write_jsonl(tmp_path / "set.jsonl.zst", [record])
    assert list(read_examples(path)) == [expected]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"positive": "p"}, "No text in the field"),
        ({"query": " ", "positive": "p"}, "No text in the field"),
        ({"query": "q"}, "No passage in"),
        ({"query": "q", "positives": []}, "No passage in"),
        ({"query": "q", "positive": ""}, "'positive' holds an empty text"),
        ({"query": "q", "positive": 1}, "'positive' must hold texts"),
        ({"query": "q", "positive": {"title": "T"}}, "'positive' must hold texts"),
        ({"query": "q", "positive": "p", "positives": ["p"]}, "Both 'positive' and 'positives'"),
        ({"query": "q", "positive": "p", "scores": [1, 2]}, "must have 1 numbers.*got 2"),
        ({"query": "q", "positive": "p", "scores": 1}, "got no list"),
        ({"query": "q", "positive": "p", "scores": ["x"]}, "score 'x' is no finite number"),
        ({"query": "q", "positive": "p", "scores": [True]}, "score True is no finite number"),
        ({"query": "q", "positive": "p", "source": 1}, "must be a name"),
    ],
)
def test_texts_that_are_no_example(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    good = {"query": "q", "positive": "p"}
    path = write_jsonl(tmp_path / "a.jsonl", [good, record, good])
    with pytest.raises(RecordError, match=f"line 2: .*{message}"):
        list(read_examples(path))
    bad = BadLines(1)
    assert len(list(read_examples(path, bad=bad))) == 2


def test_triples_of_texts(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "triples.train.small.tsv", ["q\tp\tn", "q\tp", "q\t\tn"])
    bad = BadLines(2)
    assert list(read_text_triples(path, bad=bad)) == [Example("q", ("p",), ("n",), None, "triples")]
    assert [e.line for e in bad.examples] == [2, 3]


def test_triples_of_ids_with_and_without_scores(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "t.tsv", ["1\t2\t3", "9.5\t-2.5\t1\t2\t3", "1\t2", "nan\t1\t1\t2\t3"]
    )
    bad = BadLines(2)
    assert list(read_id_triples(path, bad=bad)) == [
        IdExample("1", ("2",), ("3",)),
        IdExample("1", ("2",), ("3",), (9.5, -2.5)),
    ]
    columns, score = (e.reason for e in bad.examples)
    assert columns.startswith("2 columns, expected 3 (query, positive, negative) or 5 (score of")
    assert score == "The score 'nan' is no finite number."


def test_scored_lists(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "examples_64.json",
        ["[7, [1, 2.5], [3, -1]]", "[7]", '{"a": 1}', "[7, [1, 2], [3]]", "[7, [1, null]]", "["],
    )
    bad = BadLines(5)
    assert list(read_scored_lists(path, bad=bad)) == [IdExample("7", ("1",), ("3",), (2.5, -1.0))]
    assert [e.line for e in bad.examples] == [2, 3, 4, 5, 6]
    assert list(read_scored_lists(path, n_positives=0, bad=bad)) == [
        IdExample("7", (), ("1", "3"), (2.5, -1.0))
    ]
    with pytest.raises(ArgumentError):
        read_scored_lists(path, n_positives=-1)


def test_hard_negatives_by_system_without_repetitions_and_positives(tmp_path: Path) -> None:
    record = {"qid": 1, "pos": [10], "neg": {"bm25": [11, 12, 13], "tas-b": [12, 10, 14]}}
    path = write_jsonl(tmp_path / "hard.jsonl.gz", [record])
    (everything,) = read_hard_negatives(path)
    assert everything == IdExample("1", ("10",), ("11", "12", "13", "14"))
    (one,) = read_hard_negatives(path, systems=["tas-b"])
    assert one.negatives == ("12", "14")
    (few,) = read_hard_negatives(path, n_negatives=1)
    assert few.negatives == ("11", "12")
    with pytest.raises(RecordError, match="No negatives of none; the line has 'bm25', 'tas-b'"):
        list(read_hard_negatives(path, systems=["none"]))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"qid": 1, "pos": [2]}, "No field 'neg'"),
        ({"qid": 1, "pos": [], "neg": [3]}, "has no positive"),
        ({"qid": 1, "pos": 2, "neg": [3]}, "'pos' must be a list"),
        ({"qid": 1, "pos": [2], "neg": {"a": 3}}, "'neg.a' must be a list"),
        ({"qid": None, "pos": [2], "neg": []}, "got null"),
    ],
)
def test_bad_hard_negatives(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(record)])
    with pytest.raises(RecordError, match=f"line 1: .*{message}"):
        list(read_hard_negatives(path))


def test_a_plain_list_of_hard_negatives(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"qid": 1, "pos": [2], "neg": [3, 4]}])
    assert list(read_hard_negatives(path)) == [IdExample("1", ("2",), ("3", "4"))]


def test_a_judged_split_as_examples(make_beir: Callable[..., Path]) -> None:
    dataset = BeirDataset(make_beir())
    assert list(split_examples(dataset)) == [IdExample("q3", ("d3",))]
    assert list(split_examples(dataset, "test")) == [
        IdExample("q2", ("d2",)),
        IdExample("q1", ("d1",), ("d3",)),
    ]
    with pytest.raises(DatasetNotFoundError):
        list(split_examples(dataset, "dev"))
