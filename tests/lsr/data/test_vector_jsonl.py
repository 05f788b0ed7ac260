from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsr.core.errors import (
    DuplicateRecordError,
    RecordError,
    WeightError,
    WeightRecordError,
)
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines
from lsr.data.vector_jsonl import (
    collect_vocabulary,
    parse_weights,
    read_vectors,
    shard_rows,
    write_vectors_jsonl,
)
from tests.helpers.files import write_jsonl, write_lines

VOCABULARY = Vocabulary(["a", "b", "##c", "d"])


def test_a_line_becomes_a_canonical_vector(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "v.jsonl.gz",
        [
            {"id": 7, "content": "ignored", "vector": {"d": 0.5, "a": 2, "b": 0}},
            {"id": "e", "vector": {}},
        ],
    )
    rows = list(read_vectors(path, VOCABULARY))
    assert rows == [
        ("7", SparseVector.from_arrays([0, 3], [2, 0.5], 4)),
        ("e", SparseVector.from_arrays([], [], 4)),
    ]


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ('{"id": "x", "vector": {"a": NaN}}', WeightRecordError, "weight of 'a' is nan"),
        ('{"id": "x", "vector": {"a": -1}}', WeightRecordError, "weight of 'a' is -1"),
        ('{"id": "x", "vector": {"a": -Infinity}}', WeightRecordError, "weight of 'a' is -inf"),
        ('{"id": "x", "vector": {"a": 1e39}}', WeightRecordError, "weight of 'a' is 1e\\+39"),
        ('{"id": "x", "vector": {"a": 1e999}}', WeightRecordError, "weight of 'a' is inf"),
        (
            f'{{"id": "x", "vector": {{"a": {10**400}}}}}',
            WeightRecordError,
            "weight of 'a' is 1000",
        ),
        ('{"id": "x", "vector": {"a": "1"}}', RecordError, "weight of 'a' is '1', which is no num"),
        ('{"id": "x", "vector": {"a": true}}', RecordError, "weight of 'a' is True"),
        ('{"id": "x", "vector": {"a": null}}', RecordError, "weight of 'a' is None"),
        ('{"id": "x", "vector": [1]}', RecordError, "must be an object"),
        ('{"id": "x", "vector": {"e": 1}}', RecordError, "token 'e' is not in the vocabulary"),
        ('{"id": "x"}', RecordError, "No field 'vector'"),
        ('{"vector": {}}', RecordError, "No field 'id'"),
        ('{"id": null, "vector": {}}', RecordError, "got null"),
        ('{"id": "1", "vector": {}}', DuplicateRecordError, "The id '1' stands twice"),
        ('{"id": "x", "vector": {"a": 1', RecordError, "Broken JSON"),
    ],
)
def test_bad_lines_are_numbered_and_can_be_skipped(
    tmp_path: Path, line: str, kind: type[RecordError], message: str
) -> None:
    good = '{"id": "1", "vector": {"a": 1}}'
    path = write_lines(tmp_path / "v.jsonl", [good, line, good.replace("1", "2", 1)])
    with pytest.raises(kind, match=f"line 2: .*{message}"):
        list(read_vectors(path, VOCABULARY))
    bad = BadLines(1)
    assert [doc_id for doc_id, _ in read_vectors(path, VOCABULARY, bad=bad)] == ["1", "2"]
    assert bad.n_skipped == 1


def test_an_unknown_token_has_near_names(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "v.jsonl", [{"id": 1, "vector": {"quantun": 1}}])
    with pytest.raises(RecordError, match="Did you mean 'quantum'"):
        list(read_vectors(path, Vocabulary(["quantum", "tea"])))


@given(st.floats() | st.integers() | st.floats(3.4e38, 3.5e38))
@example(3.4028235e38)
@example(3.4028236e38)
def test_every_number_is_a_weight_or_an_error(weight: float) -> None:
    with np.errstate(over="ignore"):
        usable = abs(weight) < 1e300 and weight >= 0 and np.isfinite(np.float32(weight))
    try:
        assert parse_weights({"a": weight}) == (["a"], [float(weight)])
    except WeightError:
        assert not usable
    else:
        assert usable


def test_the_vocabulary_is_collected_in_order_without_unused_tokens(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "v.jsonl",
        [{"id": 1, "vector": {"b": 1, "ä": 1}}, {"id": 2, "vector": {"a": 2, "zero": 0}}],
    )
    assert collect_vocabulary(path).tokens == ("a", "b", "ä")


def test_shards_are_bounded_and_hold_everything() -> None:
    rows = [(str(i), SparseVector.from_arrays([i], [1], 10)) for i in range(10)]
    parts = list(shard_rows(iter(rows), 10, rows_a_shard=4))
    assert [matrix.n_rows for matrix, _ in parts] == [4, 4, 2]
    assert [i for _, ids in parts for i in ids] == [i for i, _ in rows]


def test_what_is_written_has_the_heaviest_first_and_short_numbers(tmp_path: Path) -> None:
    rows = [("1", SparseVector.from_arrays([0, 1, 3], [0.1, 2, 2], 4))]
    path = tmp_path / "v.jsonl"
    count = write_vectors_jsonl(rows, VOCABULARY.tokens, path, extra=lambda i: {"content": f"c{i}"})
    assert count == 1
    assert path.read_text() == (
        '{"id": "1", "content": "c1", "vector": {"b": 2.0, "d": 2.0, "a": 0.1}}\n'
    )


weights = st.floats(width=32, min_value=2.0**-149, max_value=float(np.finfo(np.float32).max))
vectors = st.dictionaries(st.integers(0, 3), weights).map(lambda w: SparseVector.from_mapping(w, 4))


@given(
    rows=st.lists(vectors, min_size=1, max_size=6),
    suffix=st.sampled_from(["", ".gz", ".zst"]),
)
@settings(max_examples=50)
def test_out_and_in_again_is_bit_equal(
    tmp_path_factory: pytest.TempPathFactory, rows: list[SparseVector], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("round") / f"v.jsonl{suffix}"
    named = [(f"d{i}", row) for i, row in enumerate(rows)]
    write_vectors_jsonl(named, VOCABULARY.tokens, path)
    assert list(read_vectors(path, VOCABULARY)) == named


def test_json_of_any_reader_is_what_is_written(tmp_path: Path) -> None:
    rows: list[tuple[str, Any]] = [("ä\u2028", SparseVector.from_arrays([2], [1 / 3], 4))]
    path = tmp_path / "v.jsonl"
    write_vectors_jsonl(rows, VOCABULARY.tokens, path)
    lines = path.read_bytes().split(b"\n")
    assert json.loads(lines[0]) == {"id": "ä\u2028", "vector": {"##c": 0.33333334}}
    assert lines[1:] == [b""]
