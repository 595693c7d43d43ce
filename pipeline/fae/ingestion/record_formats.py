"""Split lines that are no rows of separated fields: JSON objects, and `slot:value` pairs."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl

from fae.ingestion.cast.raw_columns import LINE_COLUMN
from fae.ingestion.rejects import Reject, preview
from fae.logs.files import find_key
from fae.logs.forms import ListText
from fae.logs.schema import Schema

#: A field's text, or the texts of its list; None is missing.
_Value = str | list[str | None] | None
_Record = dict[str, _Value]


class _FaultError(Exception):
    """Why a line, or its field `column`, is malformed."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


def split_records(data: bytes, schema: Schema) -> tuple[pl.DataFrame, list[Reject]]:
    """Return the fields of each line as text or lists, with `@line`, and the malformed lines.

    Each line ends in a line break.
    """
    read_line: Callable[[str, Schema, dict[str, ListText]], _Record] = _read_object
    if schema.slots is not None:
        read_line = _read_pairs
    lists = _find_lists(schema)
    rejects: list[Reject] = []
    numbers: list[int] = []
    records: list[_Record] = []
    for number, line in enumerate(data.split(b"\n")[:-1]):
        line = line.removesuffix(b"\r")
        try:
            record = read_line(_decode(line), schema, lists)
        except _FaultError as fault:
            rejects.append(Reject(number, fault.column, str(fault), preview(line)))
        else:
            numbers.append(number)
            records.append(record)
    columns = [
        pl.Series(name, [record.get(name) for record in records], _type_of(name, lists))
        for name in schema.log_names
    ]
    return pl.DataFrame([pl.Series(LINE_COLUMN, numbers, pl.Int64()), *columns]), rejects


def _find_lists(schema: Schema) -> dict[str, ListText]:
    """Return how lists are written, by the log's names of the fields that hold lists."""
    shapes = {column.log_name: column.list_text for column in schema.fields}
    lists = {name: shape for name, shape in shapes.items() if shape is not None}
    if schema.explode is not None and schema.format == "json":
        lists[schema.explode.field] = ListText.model_construct(separator=schema.explode.separator)
    return lists


def _type_of(name: str, lists: dict[str, ListText]) -> pl.DataType:
    return pl.List(pl.String()) if name in lists else pl.String()


def _decode(line: bytes) -> str:
    """Return a line as text; raises _FaultError where it has none."""
    if line == b"":
        raise _FaultError("the line is empty")
    if b"\0" in line:
        raise _FaultError("a NUL byte")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _FaultError(f"not UTF-8 at byte {error.start + 1}") from None


def _read_object(line: str, schema: Schema, lists: dict[str, ListText]) -> _Record:
    """Return the fields that a JSON object has; numbers are text as they are written there."""
    try:
        found = json.loads(
            line,
            object_pairs_hook=_to_object,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
        )
    except (ValueError, RecursionError) as error:
        raise _FaultError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise _FaultError("not a JSON object")
    return {name: _to_value(find_key(found, name, None), name, lists) for name in schema.log_names}


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some keys and values; raises _FaultError where a key occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _FaultError(f"the key {repeated!r} occurs twice")
    return found


def _to_value(value: Any, name: str, lists: dict[str, ListText]) -> _Value:
    """Return a JSON value as text or, of a field that holds lists, as texts."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, dict):
        raise _FaultError("an object, not a value", name)
    if name not in lists:
        if isinstance(value, list):
            raise _FaultError("a list, not one value", name)
        return value  # type: ignore[no-any-return]
    if isinstance(value, str):
        separator = lists[name].separator
        value = value.removesuffix(separator)
        return value.split(separator) if value else None
    if value is None:
        return None
    return [_to_value(element, name, {}) for element in value]  # type: ignore[misc]


def _read_pairs(line: str, schema: Schema, lists: dict[str, ListText]) -> _Record:
    """Return the fields of a line of plain fields and then `slot:value` pairs, in any order."""
    mark = schema.slots or ""
    slots = {column.slot for column in schema.fields if column.slot is not None}
    plain = [name for name in schema.log_names if name not in slots]
    fields = line.split(schema.separator)
    if len(fields) < len(plain):
        raise _FaultError(f"{len(fields)} fields, not {len(plain)} before the pairs")
    record: _Record = {name: field or None for name, field in zip(plain, fields, strict=False)}
    for pair in filter(None, fields[len(plain) :]):
        slot, found, value = pair.partition(mark)
        if not found:
            raise _FaultError(f"{pair!r} is no pair of slot and value")
        if slot not in slots:
            if schema.ignore_rest:
                continue
            raise _FaultError(f"the slot {slot!r} is not in the schema")
        if slot in lists:
            values = record.setdefault(slot, [])
            assert isinstance(values, list)
            values.append(value or None)
        elif slot in record:
            raise _FaultError("the slot occurs twice, and the column is no list", slot)
        else:
            record[slot] = value or None
    return record
