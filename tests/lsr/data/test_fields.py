from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.errors import ConfigError, DataError
from lsr.core.records import Document, Query
from lsr.data.fields import BEIR_FIELDS, FieldMap, parse_id, parse_object


def test_beir_record_with_its_metadata_spread() -> None:
    record = {"_id": "d", "title": "T", "text": "x", "metadata": {"url": "u"}, "year": 1999}
    expected = Document("d", "x", "T", {"url": "u", "year": 1999})
    assert BEIR_FIELDS.document(record) == expected


def test_title_may_be_missing_or_null_or_switched_off() -> None:
    assert BEIR_FIELDS.document({"_id": "d", "text": "x"}).title == ""
    assert BEIR_FIELDS.document({"_id": "d", "text": "x", "title": None}).title == ""
    without = FieldMap(title=None).document({"_id": "d", "text": "x", "title": "T"})
    assert without == Document("d", "x", "", {"title": "T"})


def test_dotted_paths_lists_and_several_text_fields() -> None:
    fields = FieldMap(id="meta.key", text=("abstract", "body.parts"), title="meta.head")
    record = {
        "meta": {"key": 7, "head": "H", "year": 2001},
        "abstract": "First.",
        "body": {"parts": ["Second.", "Third."]},
        "lang": "en",
    }
    assert fields.document(record) == Document(
        "7", "First. Second. Third.", "H", {"meta": {"year": 2001}, "lang": "en"}
    )
    # The record still is what it was: metadata is a copy.
    assert record["meta"] == {"key": 7, "head": "H", "year": 2001}


def test_a_key_with_a_dot_in_it_wins_over_the_path() -> None:
    fields = FieldMap(id="a.b")
    assert fields.document({"a.b": "x", "a": {"b": "y"}, "text": ""}).doc_id == "x"


def test_empty_texts_are_documents_but_no_queries() -> None:
    assert BEIR_FIELDS.document({"_id": "d", "text": ""}) == Document("d", "", "", {})
    assert BEIR_FIELDS.query({"_id": "q", "text": "why"}) == Query("q", "why")
    with pytest.raises(DataError, match="The query 'q' has no text"):
        BEIR_FIELDS.query({"_id": "q", "text": " \n"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "d", "text": "x"}, "No field '_id'; the record has 'id', 'text'."),
        ({"_id": "d", "texts": "x"}, "No field 'text'.* Did you mean 'texts'"),
        ({}, "the record has none"),
        ({"_id": "d", "text": None}, "'text' must be a string, got null"),
        ({"_id": "d", "text": 3}, "'text' must be a string, got the number 3"),
        ({"_id": "d", "text": ["a", 1]}, "'text' must be a string, got a list"),
        ({"_id": "d", "text": "x", "title": {"a": 1}}, "'title' must be a string, got an object"),
        ({"_id": None, "text": "x"}, "The id .* got null"),
        ({"_id": 1.5, "text": "x"}, "The id .* whole number, got the number 1.5"),
        ({"_id": True, "text": "x"}, "The id .* got a boolean"),
        ({"_id": "", "text": "x"}, "The id .* is empty"),
        ({"_id": " d", "text": "x"}, "has white space around it"),
        ({"_id": "a\tb", "text": "x"}, "control characters"),
    ],
)
def test_wrong_records_say_what_is_wrong(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BEIR_FIELDS.document(record)


def test_a_missing_field_points_to_the_flags() -> None:
    with pytest.raises(DataError) as caught:
        BEIR_FIELDS.document({"docid": "d", "contents": "x"})
    assert "--id-field" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": ', "Broken JSON: .* at character"),
        ("[1]", "Expected a JSON object, got a list"),
        ('"x"', "got a string 'x'"),
        ('{"a": NaN}', "Broken JSON: NaN"),
        ('{"a": -Infinity}', "Broken JSON: -Infinity"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ("[" * 100_000, "Broken JSON"),
        ('{"a": ' + "9" * 5000 + "}", "Broken JSON"),
    ],
)
def test_lines_that_are_no_usable_json(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_object(line)


def test_whole_surrogate_pairs_and_constants_on_request() -> None:
    assert parse_object('{"a": "\\ud83d\\ude00"}') == {"a": "😀"}
    assert parse_object('{"a": Infinity}', constants=True) == {"a": float("inf")}


@pytest.mark.parametrize(
    "arguments",
    [
        {"id": ""},
        {"text": ()},
        {"text": ("",)},
        {"id": "text"},
        {"title": "text"},
        {"text": ("a", "a")},
    ],
)
def test_meaningless_maps_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FieldMap(**arguments)


def test_flags_make_the_map() -> None:
    assert FieldMap.from_flags("_id", None, "title") == BEIR_FIELDS
    assert FieldMap.from_flags("k", ["a", "b"], "") == FieldMap("k", ("a", "b"), None)


def test_ids_are_written_out() -> None:
    assert parse_id(12, "id") == "12"
    assert parse_id("http://x.y/ä z", "id") == "http://x.y/ä z"


names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@given(
    doc_id=names,
    text=st.text(st.characters(codec="utf-8"), max_size=20),
    extra=st.dictionaries(names, values, max_size=4),
)
def test_any_record_keeps_its_text_and_the_rest_is_metadata(
    doc_id: str, text: str, extra: dict[str, Any]
) -> None:
    for used in ("_id", "text", "title", "metadata"):
        extra.pop(used, None)
    line = json.dumps({"_id": doc_id, "text": text, **extra})
    assert BEIR_FIELDS.document(parse_object(line)) == Document(doc_id, text, "", extra)
