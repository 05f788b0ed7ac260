"""Metadata fields: which there are, their types, and a document's values in comparable form.

A field has one type for the whole collection: declared when the collection is made, or taken from
the first document that has it. A document that breaks it is refused. Text that looks like a date
stays text unless the field is declared a ``date``: types are never guessed.

| type | in JSON | compared as |
|---|---|---|
| ``string`` | a string | its UTF-8 bytes |
| ``number`` | a number | float64; whole numbers up to 2^53 |
| ``boolean`` | true, false | 0, 1 |
| ``date`` | ISO 8601, ``2026-11-22`` or ``2026-11-22T10:00:00+01:00`` | microseconds, UTC |
| ``stored`` | anything | never: carried along, not filterable |

A list holds many values of one type, and a test holds if it holds for any of them. ``null`` and
an empty list are no value. An object's fields are named with dots (``author.name``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args

from lsr.core.errors import DataError

__all__ = [
    "FIELD_TYPES",
    "FieldType",
    "FieldValues",
    "Value",
    "field_values",
    "infer_types",
    "parse_value",
]

FieldType: TypeAlias = Literal["string", "number", "boolean", "date", "stored"]
FIELD_TYPES: tuple[str, ...] = get_args(FieldType)

Value: TypeAlias = str | float | int
FieldValues: TypeAlias = dict[str, tuple[Value, ...]]
"""Comparable values by field."""

_LARGEST_WHOLE = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object"}


def parse_value(value: Any, kind: str) -> Value:
    """Return a JSON value as its field's type compares it.

    Raises
    ------
    ValueError
        If it is no value of this type; the message says what is expected.
    """
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return int(value)
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
            raise ValueError(f"whole numbers beyond 2^53 are not exact ({value}): use a string")
        # -0.0 + 0.0 is 0.0: equal values must have equal bits.
        return float(value) + 0.0
    if kind == "date" and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"expected an ISO 8601 date, got {value!r}") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    raise ValueError(f"expected a {kind}, got {value!r}")


def _flat(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _infer(values: list[Any]) -> str | None:
    """Return the type of a new field, or None where the values have several."""
    names = {_JSON_NAMES.get(type(value), "list") for value in values}
    if names & {"list", "object"}:
        return "stored"
    return names.pop() if len(names) == 1 else None


def _values(raw: Any) -> list[Any]:
    """Return the values of a field; `null` and an empty list have none."""
    many = raw if isinstance(raw, list | tuple) else [raw]
    return [value for value in many if value is not None]


def infer_types(
    rows: Iterable[tuple[str, Mapping[str, Any]]], declared: Mapping[str, str]
) -> dict[str, str]:
    """Return the types of all fields of documents that are all there; `rows` are ids and metadata.

    A field whose values have several types, or hold what compares as none, is ``stored``.
    """
    types = dict(declared)
    for _, metadata in rows:
        for name, raw in _flat(metadata):
            if name in declared or types.get(name) == "stored" or not (values := _values(raw)):
                continue
            kind = _infer(values) or "stored"
            if types.setdefault(name, kind) != kind or not _fit(values, kind):
                types[name] = "stored"
    return types


def _fit(values: list[Any], kind: str) -> bool:
    try:
        for value in values if kind == "number" else ():
            parse_value(value, kind)
    except ValueError:
        return False
    return True


def field_values(
    doc_id: str, metadata: Mapping[str, Any], types: Mapping[str, str], new: dict[str, str]
) -> FieldValues:
    """Return the comparable values of a document's fields.

    Parameters
    ----------
    doc_id : str
        For messages.
    metadata : mapping
        JSON values by name.
    types : mapping of str to str
        The types of the fields that the collection knows.
    new : dict of str to str
        Takes the types of the fields that appear for the first time.

    Raises
    ------
    DataError
        If a value is not of its field's type.
    """
    found: FieldValues = {}
    for name, raw in _flat(metadata):
        if not (values := _values(raw)):
            continue
        kind = types.get(name) or new.get(name)
        if kind is None:
            kind = _infer(values)
            if kind is None:
                raise DataError(
                    f"Document {doc_id!r}: the list in field {name!r} mixes types: {raw!r}.",
                    hint=f"Give it one type, or declare the field: --set fields.{name}=stored",
                )
            new[name] = kind
        if kind == "stored":
            continue
        try:
            parsed = tuple(parse_value(value, kind) for value in values)
        except ValueError as error:
            raise DataError(
                f"Document {doc_id!r}: field {name!r} is a {kind} in this collection: {error}.",
                hint="Mend the document; a new collection can declare another type "
                f"(--set fields.{name}=stored carries anything along).",
            ) from None
        found[name] = found.get(name, ()) + parsed
    return found
