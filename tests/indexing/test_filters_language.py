"""The filter language: what it takes, what it refuses, and that columns mean what it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.filters import all_rows, bitmap, clear_rows, contains, count_rows, rows_of
from indexing.filters_columns import columns_of
from indexing.filters_fields import field_values, parse_value
from indexing.filters_language import bind, filter_key, matches, parse_filter
from lsr.core.errors import DataError, FilterError, QueryError

TYPES = {
    "lang": "string",
    "year": "number",
    "open": "boolean",
    "day": "date",
    "author.name": "string",
    "blob": "stored",
}


def passes(raw: Any, **metadata: Any) -> bool:
    fields = field_values("d", metadata, TYPES, {})
    return matches(bind(parse_filter(raw), TYPES), fields)


@pytest.mark.parametrize(
    ("raw", "metadata", "expected"),
    [
        ({"equals": {"lang": "en"}}, {"lang": "en"}, True),
        ({"equals": {"lang": "en"}}, {"lang": "EN"}, False),
        ({"equals": {"lang": "en"}}, {"lang": ["de", "en"]}, True),
        ({"equals": {"lang": "en"}}, {}, False),
        ({"equals": {"year": 1990}}, {"year": 1990.0}, True),
        ({"equals": {"year": 0}}, {"year": -0.0}, True),
        ({"equals": {"open": False}}, {"open": False}, True),
        ({"equals": {"day": "2026-01-01"}}, {"day": "2026-01-01T01:00:00+01:00"}, True),
        ({"equals": {"author.name": "x"}}, {"author": {"name": "x", "age": None}}, True),
        ({"in": {"lang": ["de", "en"]}}, {"lang": "en"}, True),
        ({"range": {"year": {"gte": 1990}}}, {"year": 1990}, True),
        ({"range": {"year": {"gt": 1990}}}, {"year": 1990}, False),
        ({"range": {"year": {"gt": 1, "lt": 2}}}, {"year": [0, 3]}, False),
        ({"range": {"day": {"lt": "2026-01-02"}}}, {"day": "2026-01-01T23:59:59.9Z"}, True),
        ({"range": {"lang": {"gte": "d", "lt": "e"}}}, {"lang": "de"}, True),
        ({"exists": "lang"}, {"lang": None}, False),
        ({"exists": "lang"}, {"lang": []}, False),
        ({"exists": "lang"}, {"lang": ""}, True),
        ({"not": {"equals": {"lang": "en"}}}, {}, True),
        ({"and": [{"exists": "lang"}, {"exists": "year"}]}, {"lang": "x"}, False),
        ({"or": [{"exists": "lang"}, {"exists": "year"}]}, {"lang": "x"}, True),
    ],
)
def test_meaning(raw: Any, metadata: dict[str, Any], expected: bool) -> None:
    assert passes(raw, **metadata) is expected
    columns = columns_of([field_values("d", metadata, TYPES, {})], TYPES)
    found = columns.evaluate(bind(parse_filter(json.dumps(raw)), TYPES))
    assert rows_of(found, 1).tolist() == ([0] if expected else [])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "not JSON"),
        ([], "an object with one key"),
        ({}, "an object with one key, the operator; got 0 keys"),
        ({"equals": {"lang": "x"}, "exists": "lang"}, "got 2 keys"),
        ({"equal": {"lang": "x"}}, "unknown operator 'equal'. Did you mean 'equals'"),
        ({"and": []}, "at least 1 item"),
        ({"and": {"exists": "lang"}}, "and"),
        ({"and": [{"exits": "lang"}]}, r"filter.and\[0\]: unknown operator 'exits'"),
        ({"equals": {"lang": None}}, "None"),
        ({"equals": {"lang": ["x"]}}, "lang"),
        ({"equals": {}}, "at least 1"),
        ({"equals": {"lang": "x", "year": 1}}, "at most 1"),
        ({"in": {"lang": []}}, "at least 1"),
        ({"range": {"year": {}}}, "at least one of gt, gte, lt, lte"),
        ({"range": {"year": {"gt": 1, "gte": 1}}}, "gt or gte"),
        ({"range": {"year": {"from": 1}}}, "from"),
        ({"range": {"year": {"lt": float("inf")}}}, "finite"),
        ({"exists": ""}, "at least 1 character"),
        ({"equals": {"lnag": "x"}}, "no document has a field 'lnag'. did you mean 'lang'"),
        ({"equals": {"lang": 1}}, "Field 'lang' is a string: expected a string, got 1"),
        ({"equals": {"year": "1990"}}, "Field 'year' is a number"),
        ({"equals": {"year": True}}, "Field 'year' is a number"),
        ({"equals": {"open": 1}}, "Field 'open' is a boolean"),
        ({"equals": {"day": "yesterday"}}, "ISO 8601"),
        ({"range": {"open": {"lt": True}}}, "no ranges"),
        ({"exists": "blob"}, "carried along only"),
    ],
)
def test_what_it_refuses(raw: Any, message: str) -> None:
    with pytest.raises(FilterError, match=f"(?i){message}") as caught:
        bind(parse_filter(raw), TYPES)
    assert isinstance(caught.value, QueryError)
    assert caught.value.code == "filter_invalid"


def test_depth_and_size_are_limited() -> None:
    deep: Any = {"exists": "lang"}
    for _ in range(5000):
        deep = {"not": deep}
    with pytest.raises(FilterError, match="levels deep"):
        parse_filter(deep)
    with pytest.raises(FilterError, match="1,000 parts"):
        parse_filter({"or": [{"exists": "lang"}] * 1000})


def test_parsed_filters_pass_through_and_have_a_key() -> None:
    node = parse_filter({"in": {"lang": ["a"]}})
    assert parse_filter(node) is node
    assert filter_key(node) == '{"in":{"lang":["a"]}}'
    assert filter_key(parse_filter({"equals": {"x": 1}})) != filter_key(
        parse_filter({"equals": {"x": "1"}})
    )


def test_types_of_new_fields_are_those_of_their_first_values() -> None:
    new: dict[str, str] = {}
    values = {"s": "2026-01-01", "n": [1, 2.5], "b": True, "o": {"x": {"y": 1}}, "l": [{"a": 1}]}
    found = field_values("d", {**values, "none": None, "empty": []}, {}, new)
    assert new == {"s": "string", "n": "number", "b": "boolean", "o.x.y": "number", "l": "stored"}
    assert found == {"s": ("2026-01-01",), "n": (1.0, 2.5), "b": (1,), "o.x.y": (1.0,)}
    with pytest.raises(DataError, match="mixes types"):
        field_values("d", {"m": [1, "x"]}, {}, {})
    with pytest.raises(DataError, match="'n' is a number in this collection"):
        field_values("d", {"n": "x"}, new, {})
    assert field_values("d", {"n": "x"}, {"n": "stored"}, {}) == {}


def test_numbers_that_a_float_cannot_hold_are_refused() -> None:
    assert parse_value(2**53, "number") == 2**53
    with pytest.raises(ValueError, match="2\\^53"):
        parse_value(2**53 + 1, "number")


scalars = {
    "lang": st.sampled_from(["", "a", "ab", "b", "é", "z\U0001f600", "\uffff"]),
    "year": st.sampled_from([-1.5, 0, 1, 2, 1e300]),
    "open": st.booleans(),
    "day": st.sampled_from(["1066-10-14", "2026-01-01", "2026-01-01T00:00:00.000001"]),
}
rows = st.lists(
    st.fixed_dictionaries(
        {}, optional={name: v | st.lists(v, max_size=3) for name, v in scalars.items()}
    ),
    max_size=70,
)


@st.composite
def leaf_tests(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(list(scalars)))
    kind = draw(st.sampled_from(["equals", "in", "range", "exists"]))
    if kind == "exists":
        return {"exists": name}
    if kind == "equals":
        return {"equals": {name: draw(scalars[name])}}
    if kind == "in" or name == "open":
        return {"in": {name: draw(st.lists(scalars[name], min_size=1, max_size=3))}}
    low = draw(st.sampled_from(["gt", "gte", None]))
    high = draw(st.sampled_from(["lt", "lte"] if low is None else ["lt", "lte", None]))
    return {"range": {name: {end: draw(scalars[name]) for end in (low, high) if end}}}


filters = st.recursive(
    leaf_tests(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda v: {"and": v}),
        st.lists(inner, min_size=1, max_size=3).map(lambda v: {"or": v}),
        inner.map(lambda v: {"not": v}),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(rows, filters)
def test_columns_are_the_plain_meaning(metadata: list[dict[str, Any]], raw: Any) -> None:
    values = [field_values("d", fields, TYPES, {}) for fields in metadata]
    test = bind(parse_filter(raw), TYPES)
    columns = columns_of(values, TYPES)
    expected = [row for row, fields in enumerate(values) if matches(test, fields)]
    found = columns.evaluate(test)
    assert rows_of(found, len(values)).tolist() == expected
    assert count_rows(found) == len(expected)


@given(st.integers(0, 200).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n)))))
def test_bitmaps(case: tuple[int, set[int]]) -> None:
    n, chosen = case
    gone = np.array(sorted(row for row in chosen if row < n), dtype=np.int64)
    every = all_rows(n)
    assert rows_of(every, n).tolist() == list(range(n))
    assert count_rows(every) == n
    left = clear_rows(every, gone)
    assert count_rows(left) == n - len(gone)
    assert not contains(left, gone).any()
    np.testing.assert_array_equal(left | bitmap(gone, n), every)
