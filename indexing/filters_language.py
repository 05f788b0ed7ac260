"""The filter language: JSON in, a checked tree of tests out.

::

    {"equals": {"lang": "en"}}                     a value; of a list, any value
    {"in": {"lang": ["en", "de"]}}
    {"range": {"year": {"gte": 1990, "lt": 2000}}}   gt, gte, lt, lte; numbers, dates, strings
    {"exists": "author.name"}
    {"and": [..., ...]}   {"or": [..., ...]}   {"not": ...}

`parse_filter` checks the form, `bind` the fields and types against a collection. Unknown fields,
operators and types are errors: a filter never silently matches nothing. ``not`` is the complement:
``{"not": {"equals": {"lang": "en"}}}`` also holds for documents without ``lang``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from indexing.filters_fields import FieldValues, Value, parse_value
from lsr.core.errors import FilterError, near_names

__all__ = [
    "MAX_DEPTH",
    "AllOf",
    "And",
    "AnyOf",
    "Bounds",
    "Equals",
    "Exists",
    "ExistsTest",
    "Filter",
    "In",
    "Negation",
    "Not",
    "Or",
    "Range",
    "RangeTest",
    "Test",
    "ValuesTest",
    "bind",
    "filter_key",
    "matches",
    "parse_filter",
]

MAX_DEPTH = 16
MAX_TESTS = 1_000
MAX_VALUES = 10_000

Scalar: TypeAlias = StrictStr | StrictBool | StrictInt | StrictFloat
FieldName: TypeAlias = Annotated[str, Field(min_length=1, description="A metadata field.")]


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Equals(_Node):
    """The field has this value."""

    equals: dict[FieldName, Scalar] = Field(min_length=1, max_length=1)


class In(_Node):
    """The field has one of these values."""

    in_: dict[FieldName, Annotated[list[Scalar], Field(min_length=1, max_length=MAX_VALUES)]] = (
        Field(alias="in", min_length=1, max_length=1)
    )


class Bounds(_Node):
    """The ends of a range; at least one, at most one on each side."""

    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None

    @model_validator(mode="after")
    def _one_each_side(self) -> Bounds:
        low = [v for v in (self.gt, self.gte) if v is not None]
        high = [v for v in (self.lt, self.lte) if v is not None]
        if len(low) > 1 or len(high) > 1:
            raise ValueError("give gt or gte, and lt or lte, not both")
        if not low and not high:
            raise ValueError("give at least one of gt, gte, lt, lte")
        return self


class Range(_Node):
    """The field has a value inside the bounds."""

    range: dict[FieldName, Bounds] = Field(min_length=1, max_length=1)


class Exists(_Node):
    """The field has a value."""

    exists: FieldName


class And(_Node):
    """Every one holds."""

    and_: list[Filter] = Field(alias="and", min_length=1)


class Or(_Node):
    """At least one holds."""

    or_: list[Filter] = Field(alias="or", min_length=1)


class Not(_Node):
    """It does not hold."""

    not_: Filter = Field(alias="not")


_OPERATORS = ("and", "equals", "exists", "in", "not", "or", "range")


def _operator(node: Any) -> str | None:
    if isinstance(node, _Node):
        return next(iter(type(node).model_fields)).removesuffix("_")
    if isinstance(node, Mapping) and len(node) == 1:
        (name,) = node
        return name if name in _OPERATORS else None
    return None


Filter = Annotated[
    Annotated[And, Tag("and")]
    | Annotated[Equals, Tag("equals")]
    | Annotated[Exists, Tag("exists")]
    | Annotated[In, Tag("in")]
    | Annotated[Not, Tag("not")]
    | Annotated[Or, Tag("or")]
    | Annotated[Range, Tag("range")],
    Discriminator(_operator),
]
"""Any node of the language; a pydantic type, so that an API's schema can show it."""

And.model_rebuild()
Or.model_rebuild()
Not.model_rebuild()
_FILTER: TypeAdapter[Any] = TypeAdapter(Filter)


def _check_form(node: Any, depth: int, where: str) -> int:
    """Check operators and depth, which pydantic would report in its own words; count the nodes."""
    if depth > MAX_DEPTH:
        raise FilterError(f"The filter is nested more than {MAX_DEPTH} levels deep.")
    if not isinstance(node, Mapping) or len(node) != 1:
        seen = f"{len(node)} keys" if isinstance(node, Mapping) else f"{node!r:.60}"
        raise FilterError(
            f"{where}: a filter is an object with one key, the operator; got {seen}.",
            hint=f"Operators: {', '.join(_OPERATORS)}. Join several with and.",
        )
    ((name, inner),) = node.items()
    if name not in _OPERATORS:
        raise FilterError(
            f"{where}: unknown operator {name!r}.{near_names(str(name), _OPERATORS)}",
            hint=f"Operators: {', '.join(_OPERATORS)}.",
        )
    count = 1
    if name == "not":
        count += _check_form(inner, depth + 1, f"{where}.not")
    elif name in ("and", "or") and isinstance(inner, list | tuple):
        for at, child in enumerate(inner):
            count += _check_form(child, depth + 1, f"{where}.{name}[{at}]")
    return count


def parse_filter(raw: Mapping[str, Any] | str | BaseModel) -> Any:
    """Return the checked tree of a filter in JSON, as text or as objects.

    Raises
    ------
    FilterError
        If it breaks a rule of the language.
    """
    if isinstance(raw, _Node):
        return raw
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError as error:
            raise FilterError(f"The filter is not JSON: {error}.") from None
    if _check_form(raw, 1, "filter") > MAX_TESTS:
        raise FilterError(f"The filter has more than {MAX_TESTS:,} parts.")
    try:
        return _FILTER.validate_python(raw)
    except ValidationError as error:
        problems = "\n  ".join(_readable(error))
        raise FilterError(f"The filter breaks its rules:\n  {problems}") from None


def _readable(error: ValidationError) -> list[str]:
    """Return one line a place: pydantic has one for each type that a value might have had."""
    lines: dict[str, str] = {}
    for problem in error.errors():
        path = [str(part) for part in problem["loc"] if part not in _SCALAR_TAGS]
        # The tag of a union and the key it was taken from are the same word.
        kept = [part for at, part in enumerate(path) if at == 0 or part != path[at - 1]]
        where, seen = ".".join(kept), f"(got {problem['input']!r:.80})"
        of_type = problem["type"].removesuffix("_type") in ("string", "bool", "int", "float")
        rule = "expected a string, a number or a boolean" if of_type else problem["msg"]
        # What is wrong with the value itself says more than which types it has not.
        if where not in lines or not of_type:
            lines[where] = f"{where}: {rule} {seen}"
    return list(lines.values())


_SCALAR_TAGS = {"str", "bool", "int", "float", "constrained-str"}


def filter_key(node: Any) -> str:
    """Return a text that two filters share exactly if they are the same."""
    return str(node.model_dump_json(by_alias=True, exclude_none=True))


# --- bound to a collection -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ValuesTest:
    """The field has one of the values."""

    field: str
    kind: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The field has a value between `low` and `high`; None is open, `strict` ends are outside."""

    field: str
    kind: str
    low: Value | None
    high: Value | None
    strict_low: bool
    strict_high: bool


@dataclass(frozen=True, slots=True)
class ExistsTest:
    """The field has a value."""

    field: str
    kind: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold."""

    part: Test


Test: TypeAlias = ValuesTest | RangeTest | ExistsTest | AllOf | AnyOf | Negation
"""A filter whose fields exist and whose values have their types."""


def bind(node: Any, types: Mapping[str, str]) -> Test:
    """Return the tests of a parsed filter, in the comparable values of the collection's fields.

    Raises
    ------
    FilterError
        If a field is unknown, not filterable, or of another type than the value.
    """
    if isinstance(node, And):
        return AllOf(tuple(bind(part, types) for part in node.and_))
    if isinstance(node, Or):
        return AnyOf(tuple(bind(part, types) for part in node.or_))
    if isinstance(node, Not):
        return Negation(bind(node.not_, types))
    if isinstance(node, Exists):
        return ExistsTest(node.exists, _kind(node.exists, types))
    if isinstance(node, Equals):
        ((field, value),) = node.equals.items()
        kind = _kind(field, types)
        return ValuesTest(field, kind, (_value(field, value, kind),))
    if isinstance(node, In):
        ((field, values),) = node.in_.items()
        kind = _kind(field, types)
        return ValuesTest(field, kind, tuple(_value(field, value, kind) for value in values))
    ((field, bounds),) = node.range.items()
    kind = _kind(field, types)
    if kind == "boolean":
        raise FilterError(f"Field {field!r} is a boolean: it has no ranges.", hint="Use equals.")
    low = bounds.gt if bounds.gt is not None else bounds.gte
    high = bounds.lt if bounds.lt is not None else bounds.lte
    return RangeTest(
        field,
        kind,
        None if low is None else _value(field, low, kind),
        None if high is None else _value(field, high, kind),
        bounds.gt is not None,
        bounds.lt is not None,
    )


def _kind(field: str, types: Mapping[str, str]) -> str:
    kind = types.get(field)
    if kind is None:
        known = sorted(name for name, other in types.items() if other != "stored")
        shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise FilterError(
            f"No document has a field {field!r}.{near_names(field, known)}",
            hint=f"Fields: {shown}." if known else "The documents have no metadata.",
        )
    if kind == "stored":
        raise FilterError(f"Field {field!r} is carried along only: it cannot be filtered on.")
    return kind


def _value(field: str, value: Any, kind: str) -> Value:
    try:
        return parse_value(value, kind)
    except ValueError as error:
        raise FilterError(f"Field {field!r} is a {kind}: {error}.") from None


def matches(test: Test, fields: FieldValues) -> bool:
    """Return whether a document with these values passes; the plain meaning of the language."""
    if isinstance(test, AllOf):
        return all(matches(part, fields) for part in test.parts)
    if isinstance(test, AnyOf):
        return any(matches(part, fields) for part in test.parts)
    if isinstance(test, Negation):
        return not matches(test.part, fields)
    values = fields.get(test.field, ())
    if isinstance(test, ExistsTest):
        return bool(values)
    if isinstance(test, ValuesTest):
        return any(value in test.values for value in values)
    return any(_inside(test, value) for value in values)


def _inside(test: RangeTest, value: Any) -> bool:
    """Return whether one value lies in the range; strings are compared by code points."""
    low: Any = test.low
    high: Any = test.high
    if low is not None and (value <= low if test.strict_low else value < low):
        return False
    return high is None or (value < high if test.strict_high else value <= high)
