"""Lines of a log into typed columns, malformed lines set aside with their reasons.

A clean run of lines is parsed by Polars in one pass. Polars fills short lines with nulls and joins
lines across quotes without a word, so the pass is used only where the number of separators proves
that every line is whole; otherwise each line is looked at by itself.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from pipeline.schema import (
    Column,
    DenseColumn,
    LabelColumn,
    Schema,
    SparseColumn,
    TimeColumn,
)

#: The staged time column: seconds since 1970 (int64). No schema can name a column so.
TIME = "@time"
_LINE = "@line"
_TEXT_KEPT = 80


@dataclass(frozen=True)
class Reject:
    """A line that was set aside: its number (from 0, in its block), the column and the reason."""

    line: int
    column: str | None
    reason: str
    text: str


@dataclass(frozen=True)
class Parsed:
    """A block's rows in the order of its lines, and the lines that gave none.

    `rows` has label (int8), the dense columns (float32, transformed), the sparse columns (uint32 or
    uint64 for hex, int64, string, or lists of these; null is missing) and, where the schema has a
    time, `@time` (int64). `lines` = rows + rejects.
    """

    rows: pl.DataFrame
    rejects: list[Reject]
    lines: int


def parse_text(data: bytes, fields: tuple[str, ...], schema: Schema) -> Parsed:
    """The lines of `data`, whose fields are the columns `fields` in that order."""
    lines = data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    frame = _whole(data, lines, fields, schema)
    if frame is not None:
        return _typed(frame.with_columns(pl.Series(_LINE, np.arange(lines))), [], lines, schema)
    frame, rejects = _line_by_line(data, fields, schema)
    return _typed(frame, rejects, lines, schema)


def parse_table(frame: pl.DataFrame, schema: Schema) -> Parsed:
    """The rows of `frame`, from a columnar log, as `parse_text` gives them."""
    numbered = frame.with_columns(pl.Series(_LINE, np.arange(frame.height)))
    return _typed(numbered, [], frame.height, schema)


def _whole(data: bytes, lines: int, fields: tuple[str, ...], schema: Schema) -> pl.DataFrame | None:
    """The fields of `data` by Polars, or None where a line may be malformed."""
    separators = data.count(schema.separator.encode())
    quoted = schema.quote is not None and schema.quote.encode() in data
    if separators != lines * (len(fields) - 1) or quoted or b"\0" in data or lines == 0:
        return None
    used = {column.name: column for column in schema.fields if column.role != "drop"}
    number = {"label", "dense"}
    for numbers_as_text in (False, True):
        types = {
            name: pl.Float64() if not numbers_as_text and used[name].role in number else pl.String()
            for name in fields
            if name in used
        }
        try:
            frame = pl.read_csv(
                data,
                has_header=False,
                separator=schema.separator,
                quote_char=None,
                schema={name: types.get(name, pl.String()) for name in fields},
                columns=[index for index, name in enumerate(fields) if name in types],
            )
        except (pl.exceptions.PolarsError, UnicodeDecodeError):
            continue
        return frame if frame.height == lines else None
    return None


def _line_by_line(
    data: bytes, fields: tuple[str, ...], schema: Schema
) -> tuple[pl.DataFrame, list[Reject]]:
    """The fields of the whole lines as text, with `@line`, and the lines that are not whole."""
    rejects: list[Reject] = []
    kept: list[int] = []
    rows: list[list[str | None]] = []
    pieces = data.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    for number, piece in enumerate(pieces):
        line = piece.removesuffix(b"\r")
        values = _fields(line, len(fields), schema)
        if isinstance(values, str):
            rejects.append(Reject(number, None, values, _shown(line)))
        else:
            kept.append(number)
            rows.append([value if value != "" else None for value in values])
    frame = pl.DataFrame(rows, schema=dict.fromkeys(fields, pl.String()), orient="row")
    return frame.with_columns(pl.Series(_LINE, kept, dtype=pl.Int64())), rejects


def _fields(line: bytes, expected: int, schema: Schema) -> list[str] | str:
    """The fields of one line, or the reason why it has none."""
    if line == b"":
        return "the line is empty"
    if b"\0" in line:
        return "a NUL byte"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    if schema.quote is not None and schema.quote in text:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=schema.separator,
            quotechar=schema.quote,
            strict=True,
        )
        try:
            values = next(reader)
        except csv.Error:
            return "a quote is not closed on its line"
    else:
        values = text.split(schema.separator)
    if len(values) != expected:
        return f"{len(values)} fields, not {expected}"
    return values


def _typed(frame: pl.DataFrame, rejects: list[Reject], lines: int, schema: Schema) -> Parsed:
    """`frame`'s columns as the schema types them; rows with a value that does not fit set aside."""
    columns: list[Column] = [c for c in schema.fields if c.role != "drop"]
    values = [
        _value(column, frame.schema[column.name]).alias(_staged(column)) for column in columns
    ]
    faults = [_fault(column, frame.schema[column.name]).alias(column.name) for column in columns]
    faulty = frame.select(faults)
    bad = faulty.select(pl.any_horizontal(pl.all())).to_series()
    rows = frame.select(values)
    if bad.any():
        rejects = rejects + _value_rejects(frame.filter(bad), faulty.filter(bad), columns)
        rows = rows.filter(~bad)
    rows = rows.with_columns(_derived(column) for column in schema.sparse if column.source)
    order = ["label", *(c.name for c in schema.dense), *(c.name for c in schema.sparse)]
    rows = rows.select(order + ([TIME] if schema.time else []))
    return Parsed(rows, sorted(rejects, key=lambda reject: reject.line), lines)


def _value_rejects(rows: pl.DataFrame, faulty: pl.DataFrame, columns: list[Column]) -> list[Reject]:
    """One Reject for each row, about its first faulty column."""
    matrix = faulty.to_numpy()
    rejects = []
    for row, first in zip(rows.iter_rows(named=True), matrix.argmax(axis=1), strict=True):
        column = columns[int(first)]
        found = row[column.name]
        text = _shown(str(found).encode("utf-8", "replace")) if found is not None else ""
        rejects.append(Reject(row[_LINE], column.name, _expected(column), text))
    return rejects


def _shown(line: bytes) -> str:
    text = line[: 4 * _TEXT_KEPT].decode("utf-8", "backslashreplace")
    return text if len(text) <= _TEXT_KEPT else text[:_TEXT_KEPT] + "…"


def _staged(column: Column) -> str:
    """The staged name of a log's column."""
    if isinstance(column, LabelColumn):
        return "label"
    return TIME if isinstance(column, TimeColumn) else column.name


def _expected(column: Column) -> str:
    """What a value of `column` must be, for the reason of a reject."""
    if isinstance(column, LabelColumn):
        return "the label is not 0 or 1"
    if isinstance(column, DenseColumn):
        return "not a finite number"
    if isinstance(column, TimeColumn):
        return f"not a time of the form {column.format}"
    assert isinstance(column, SparseColumn)
    if column.encoding == "hex":
        return f"not {column.digits or '1 to 16'} hexadecimal digits"
    return "not a 64-bit integer" if column.encoding == "integer" else "not text"


def _number(column: str, dtype: pl.DataType) -> pl.Expr:
    raw = pl.col(column)
    return raw if dtype == pl.Float64() else raw.cast(pl.Float64(), strict=False)


def _value(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The typed value of `column`, whose raw values have `dtype`; undefined where `_fault`."""
    if isinstance(column, LabelColumn):
        return _number(column.name, dtype).cast(pl.Int8(), strict=False)
    if isinstance(column, DenseColumn):
        number = _number(column.name, dtype).fill_null(column.missing)
        if column.transform == "log1p":
            number = number.clip(lower_bound=0).log1p()
        return number.cast(pl.Float32())
    if isinstance(column, TimeColumn):
        return _time(column, dtype)
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return _category(pl.col(column.name), column, dtype)
    values, kind = _list(column, dtype)
    values = values.list.eval(_category(pl.element(), column, kind))
    if column.multi.max_length is not None:
        values = values.list.tail(column.multi.max_length)
    return values.fill_null([])


def _fault(column: Column, dtype: pl.DataType) -> pl.Expr:
    """Whether the raw value of `column` is one that no value can be made of."""
    raw = pl.col(column.name)
    if isinstance(column, LabelColumn):
        return ~_number(column.name, dtype).is_in([0.0, 1.0]).fill_null(False)
    if isinstance(column, DenseColumn):
        number = _number(column.name, dtype)
        given = raw.is_not_null() & ((raw != "") if dtype == pl.String() else pl.lit(True))
        finite = number.is_finite() & _value(column, dtype).is_finite()
        return given & ~finite.fill_null(False)
    if isinstance(column, TimeColumn):
        return _time(column, dtype).is_null()
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return _category_fault(raw, column, dtype)
    values, kind = _list(column, dtype)
    faults = values.list.eval(_category_fault(pl.element(), column, kind))
    return faults.list.any().fill_null(False)


def _time(column: TimeColumn, dtype: pl.DataType) -> pl.Expr:
    raw = pl.col(column.name)
    if dtype.is_temporal():
        return raw.cast(pl.Datetime("us")).dt.epoch("s")
    if column.format == "unix":
        return raw.cast(pl.Int64(), strict=False)
    raw = raw.cast(pl.String())
    if "%H" in column.format and "%M" not in column.format:
        moment = (raw + " 00").str.to_datetime(column.format + " %M", strict=False)
    else:
        moment = raw.str.to_datetime(column.format, strict=False)
    return moment.dt.epoch("s")


def _list(column: SparseColumn, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    """The raw values of a multi-valued column as a list, and their type."""
    raw = pl.col(column.name)
    if isinstance(dtype, pl.List):
        return raw, cast(pl.DataType, dtype.inner)
    assert column.multi is not None
    text = raw.cast(pl.String())
    return pl.when(text != "").then(text.str.split(column.multi.separator)), pl.String()


def _category(raw: pl.Expr, column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
    """The typed category, null where missing; undefined where `_category_fault`."""
    if column.encoding == "string":
        text = raw.cast(pl.String())
        return pl.when(text != "").then(text)
    if column.encoding == "integer":
        if dtype.is_float():
            return raw.cast(pl.Int64(), strict=False)
        if dtype == pl.String():
            raw = raw.str.strip_suffix(".0")
        return raw.cast(pl.Int64(), strict=False)
    target = pl.UInt32() if (column.digits or 16) <= 8 else pl.UInt64()
    if dtype == pl.String():
        return raw.str.to_integer(base=16, dtype=target, strict=False)
    return raw.cast(target, strict=False)


def _category_fault(raw: pl.Expr, column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
    value = _category(raw, column, dtype)
    given = raw.is_not_null() & ((raw != "") if dtype == pl.String() else pl.lit(True))
    fault = value.is_null()
    if dtype == pl.String() and column.encoding == "hex":
        length = raw.str.len_bytes()
        wrong_length = length != column.digits if column.digits else length > 16
        fault = fault | wrong_length | raw.str.starts_with("+")
    if dtype.is_float() and column.encoding == "integer":
        fault = fault | (value.cast(pl.Float64()) != raw)
    return given & fault if column.encoding != "string" else pl.lit(False).and_(raw.is_null())


def _derived(column: SparseColumn) -> pl.Expr:
    """A category made of the time: the hour, 0 to 23, or the day of the week, 0 for Monday."""
    days, hours = pl.col(TIME) // 86_400, pl.col(TIME) % 86_400 // 3_600
    category = hours if column.derive == "hour_of_day" else (days + 3) % 7
    return category.cast(pl.Int64()).alias(column.name)
