"""From one JSON object to a document or a query, whatever its fields are called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lsr.core.errors import ConfigError, DataError, near_names
from lsr.core.records import Document, Query

__all__ = ["BEIR_FIELDS", "FieldMap", "parse_id", "parse_json", "parse_object"]

_MISSING = object()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)
_LENIENT = json.JSONDecoder()


def parse_object(line: str, *, constants: bool = False) -> dict[str, Any]:
    """Return the JSON object in `line`.

    Parameters
    ----------
    line : str
        The text.
    constants : bool
        Let ``NaN`` and ``Infinity`` through, which JSON does not have, for a caller that can say
        better what is wrong with them.

    Raises
    ------
    DataError
        As `parse_json`; also if it is no object.
    """
    record = parse_json(line, constants=constants)
    if not isinstance(record, dict):
        raise DataError(f"Expected a JSON object, got {_kind(record)}.")
    return record


def parse_json(line: str, *, constants: bool = False) -> Any:
    """Return the JSON value in `line`.

    Raises
    ------
    DataError
        If it is not JSON, or holds half of a surrogate pair, which no UTF-8 file can carry on.
    """
    try:
        value = (_LENIENT if constants else _STRICT).decode(line)
    except json.JSONDecodeError as error:
        raise DataError(f"Broken JSON: {error.msg} at character {error.pos + 1}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"Broken JSON: {error}.") from error
    # Only an escape can smuggle one in: the line itself was decoded from UTF-8.
    if "\\u" in line:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError("A string holds half of a surrogate pair.") from None
    return value


def parse_id(value: Any, what: str) -> str:
    """Return an id as text; whole numbers are written out.

    Raises
    ------
    DataError
        If it is of another type, empty, or has white space that files of columns cannot carry.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{what} must be a string or a whole number, got {_kind(value)}.")
    if not value:
        raise DataError(f"{what} is empty.")
    if value != value.strip() or not value.isprintable():
        raise DataError(f"{what} {value!r} has white space around it or control characters.")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "a boolean"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return f"{'a string' if isinstance(value, str) else 'the number'} {value!r:.60}"


def _look_up(record: Mapping[str, Any], path: str) -> Any:
    """Return the value of a key, or of a dotted path into nested objects."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _without(record: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return a copy without the values at `paths`; objects that this empties go too."""
    rest = dict(record)
    for path in paths:
        if path in rest:
            del rest[path]
            continue
        head, dot, tail = path.partition(".")
        if dot and isinstance(rest.get(head), Mapping):
            inner = _without(rest[head], [tail])
            if inner:
                rest[head] = inner
            else:
                del rest[head]
    return rest


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Which fields of a JSON object are the id, the title and the text.

    A name may be a dotted path into nested objects (``"meta.title"``). What is not named becomes
    metadata; an object called ``metadata`` is spread into it, as BEIR means it.

    Attributes
    ----------
    id : str
        Must be there: a string or a whole number.
    text : tuple of str
        Must be there: strings or lists of strings; all are joined by a space.
    title : str or None
        May be missing from a record; None for collections without titles.
    """

    id: str = "_id"
    text: tuple[str, ...] = ("text",)
    title: str | None = "title"

    def __post_init__(self) -> None:
        names = [self.id, *self.text, *([self.title] if self.title is not None else [])]
        if not self.text or not all(names):
            raise ConfigError("A field map needs an id field and a text field, not empty names.")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"The field {min(twice)!r} is given two roles in one field map.")

    @classmethod
    def from_flags(cls, id_field: str, text_fields: Sequence[str] | None, title: str) -> FieldMap:
        """Return the map of ``--id-field``, ``--text-field`` (repeated) and ``--title-field``."""
        return cls(id_field, tuple(text_fields or ("text",)), title or None)

    def document(self, record: Mapping[str, Any]) -> Document:
        """Return the document of a record; its text may be empty.

        Raises
        ------
        DataError
            If a field is missing or of the wrong type.
        """
        used = [self.id, *self.text, *([self.title] if self.title is not None else [])]
        doc_id = self._id(record)
        text = " ".join(filter(None, (self._string(record, name) for name in self.text)))
        title = ""
        if self.title is not None and _look_up(record, self.title) not in (_MISSING, None):
            title = self._string(record, self.title)
        metadata = _without(record, used)
        if isinstance(metadata.get("metadata"), dict):
            metadata = {**metadata.pop("metadata"), **metadata}
        return Document(doc_id, text, title, metadata)

    def query(self, record: Mapping[str, Any]) -> Query:
        """Return the query of a record.

        Raises
        ------
        DataError
            If a field is missing or of the wrong type, or the text is empty.
        """
        query_id = self._id(record)
        text = " ".join(filter(None, (self._string(record, name) for name in self.text)))
        if not text.strip():
            raise DataError(f"The query {query_id!r} has no text.")
        return Query(query_id, text)

    def _id(self, record: Mapping[str, Any]) -> str:
        return parse_id(self._required(record, self.id), f"The id (field {self.id!r})")

    def _string(self, record: Mapping[str, Any], name: str) -> str:
        value = self._required(record, name)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return " ".join(value)
        raise DataError(f"The field {name!r} must be a string, got {_kind(value)}.")

    def _required(self, record: Mapping[str, Any], name: str) -> Any:
        value = _look_up(record, name)
        if value is _MISSING:
            fields = ", ".join(repr(key) for key in _shown(record)) or "none"
            raise DataError(
                f"No field {name!r}; the record has {fields}.{near_names(name, record)}",
                hint="Name the fields with --id-field, --text-field and --title-field.",
            )
        return value


def _shown(record: Mapping[str, Any]) -> Iterator[str]:
    for count, key in enumerate(record):
        if count == 8:
            yield "…"
            return
        yield key


BEIR_FIELDS = FieldMap()
"""``_id``, ``title``, ``text``."""
