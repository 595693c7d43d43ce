"""Raw columns into typed ones, value by value; values that do not fit set aside with a reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

import polars as pl

from fae.ingestion.rejects import Reject
from fae.logs.schema import (
    Column,
    DenseColumn,
    LabelColumn,
    Schema,
    SparseColumn,
    TimeColumn,
)

#: The staged time column: seconds since 1970 (int64). No schema can name a column so.
TIME_COLUMN = "@time"
#: In raw frames, the number of each row's line, from 0.
LINE_COLUMN = "@line"
_TEXT_KEPT = 80


@dataclass(frozen=True)
class ParsedLines:
    """A block's rows in the order of its lines, and the lines that gave none.

    `rows` has label (int8), the dense columns (float32, transformed), the sparse columns (uint32 or
    uint64 for hex, int64, string, or lists of these; null is missing) and, where the schema has a
    time, `@time` (int64). `lines` = rows + rejects.
    """

    rows: pl.DataFrame
    rejects: list[Reject]
    lines: int


def preview(line: bytes) -> str:
    """The beginning of a line or value, for a person to read."""
    text = line[: 4 * _TEXT_KEPT].decode("utf-8", "backslashreplace")
    return text if len(text) <= _TEXT_KEPT else text[:_TEXT_KEPT] + "…"


def cast_columns(
    frame: pl.DataFrame,
    rejects: list[Reject],
    lines: int,
    schema: Schema,
    final: frozenset[str] = frozenset(),
) -> ParsedLines:
    """`frame`'s columns as the schema types them; rows with a value that does not fit set aside.

    `frame` has the log's columns, as text or typed, and `@line`; those named in `final` are what
    they should be. `rejects` are lines that gave no row, and `lines` counts both.
    """
    columns: list[Column] = [c for c in schema.fields if c.role != "drop"]
    rows = frame.select(
        (
            pl.col(column.name)
            if column.name in final
            else _value(column, frame.schema[column.name])
        ).alias(_staged(column))
        for column in columns
    )
    unread = [column for column in columns if column.name not in final]
    both = pl.concat([frame, rows.rename(_typed_name)], how="horizontal")
    faulty = both.select(
        _fault(column, frame.schema[column.name]).alias(column.name) for column in unread
    )
    bad = faulty.select(pl.any_horizontal(pl.all())).to_series() if unread else pl.Series([False])
    if bad.any():
        rejects = rejects + _value_rejects(frame.filter(bad), faulty.filter(bad), unread)
        rows = rows.filter(~bad)
    rows = rows.with_columns(_derived(column) for column in schema.sparse if column.source)
    order = ["label", *(c.name for c in schema.dense), *(c.name for c in schema.sparse)]
    rows = rows.select(order + ([TIME_COLUMN] if schema.time else []))
    return ParsedLines(rows, sorted(rejects, key=lambda reject: reject.line), lines)


def _value_rejects(rows: pl.DataFrame, faulty: pl.DataFrame, columns: list[Column]) -> list[Reject]:
    """One Reject for each row, about its first faulty column."""
    matrix = faulty.to_numpy()
    rejects = []
    for row, first in zip(rows.iter_rows(named=True), matrix.argmax(axis=1), strict=True):
        column = columns[int(first)]
        found = row[column.name]
        text = preview(str(found).encode("utf-8", "replace")) if found is not None else ""
        rejects.append(Reject(row[LINE_COLUMN], column.name, _expected(column), text))
    return rejects


def _typed_name(staged: str) -> str:
    """The name of a typed column beside its raw one."""
    return f"@typed {staged}"


def _staged(column: Column) -> str:
    """The staged name of a log's column."""
    if isinstance(column, LabelColumn):
        return "label"
    return TIME_COLUMN if isinstance(column, TimeColumn) else column.name


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
    if dtype == pl.String():
        raw = raw.str.strip_chars(" \t")
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
    """Whether the raw value of `column`, beside its typed one, is one that no value is made of."""
    raw, value = pl.col(column.name), pl.col(_typed_name(_staged(column)))
    if isinstance(column, LabelColumn):
        return ~_number(column.name, dtype).is_in([0.0, 1.0]).fill_null(False)
    if isinstance(column, DenseColumn):
        finite = _number(column.name, dtype).is_finite().fill_null(False) & value.is_finite()
        if dtype == pl.String():
            raw = raw.str.strip_chars(" \t")  # Polars reads blanks in a column of numbers as null
        return _given(raw, dtype) & ~finite
    if isinstance(column, TimeColumn):
        return value.is_null()
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return _category_fault(raw, value, column, dtype)
    values, kind = _list(column, dtype)
    element = pl.element()
    faults = values.list.eval(
        _category_fault(element, _category(element, column, kind), column, kind)
    )
    return faults.list.any().fill_null(False)


def _given(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether there is a value at all: neither null nor empty text."""
    return raw.is_not_null() & (raw != "") if dtype == pl.String() else raw.is_not_null()


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
    return pl.when(_digits_alone(raw, column.format)).then(moment.dt.epoch("s"))


def _digits_alone(raw: pl.Expr, form: str) -> pl.Expr:
    """Whether text has just the digits that a time of digits alone must have.

    Parsers bear fewer digits, and blanks: of ` 4102123` as %y%m%d%H they make a day in 2041.
    """
    if not re.fullmatch("(%[YymdHMSj])+", form):
        return pl.lit(True)
    width = sum({"Y": 4, "j": 3}.get(directive, 2) for directive in form[1::2])
    number = raw.cast(pl.UInt64(), strict=False).is_not_null()
    return (raw.str.len_bytes() == width) & number & ~raw.str.starts_with("+")


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
        if dtype == pl.String():
            raw = raw.str.strip_suffix(".0")
        return raw.cast(pl.Int64(), strict=False)
    target = pl.UInt32() if (column.digits or 16) <= 8 else pl.UInt64()
    if dtype == pl.String():
        return raw.str.to_integer(base=16, dtype=target, strict=False)
    return raw.cast(target, strict=False)


def _category_fault(
    raw: pl.Expr, value: pl.Expr, column: SparseColumn, dtype: pl.DataType
) -> pl.Expr:
    """Whether a given category, typed as `value`, is none that `column` can hold."""
    if column.encoding == "string":
        return pl.lit(False).and_(raw.is_null())
    fault = value.is_null()
    if dtype.is_float():
        fault = fault | (value.cast(pl.Float64()) != raw)
    if column.encoding == "hex" and dtype == pl.String():
        length = raw.str.len_bytes()
        wrong_length = length != column.digits if column.digits else length > 16
        fault = fault | wrong_length | raw.str.starts_with("+")
    elif column.encoding == "hex" and column.digits:
        fault = fault | (value > 16**column.digits - 1)
    return _given(raw, dtype) & fault


def _derived(column: SparseColumn) -> pl.Expr:
    """A category made of the time: the hour, 0 to 23, or the day of the week, 0 for Monday."""
    days, hours = pl.col(TIME_COLUMN) // 86_400, pl.col(TIME_COLUMN) % 86_400 // 3_600
    category = hours if column.derive == "hour_of_day" else (days + 3) % 7
    return category.cast(pl.Int64()).alias(column.name)
