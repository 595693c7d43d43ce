"""Cast raw columns to the types of the schema; rows with a value that does not fit are rejected.

For each column, one Polars expression casts the values and a second one finds the faults.
"""

import re
from dataclasses import dataclass
from typing import cast

import polars as pl

from fae.ingestion.missing_values import is_present, text_or_null
from fae.ingestion.rejects import Reject
from fae.logs.columns import Column, DenseColumn, LabelColumn, SparseColumn, TimeColumn
from fae.logs.schema import Schema

#: The staged time column: seconds since 1970 (int64). No schema can give a column this name.
TIME_COLUMN = "@time"
#: In raw frames, the number of each row's line, from 0.
LINE_COLUMN = "@line"
_PREVIEW_CHARACTERS = 80


@dataclass(frozen=True)
class ParsedLines:
    """A text's rows in the order of its lines, and its malformed lines.

    `rows` has label (int8), the dense columns (float32, transformed), the sparse columns (uint32 or
    uint64 for hex, int64, string, or lists of these; null is missing) and, where the schema has a
    time, `@time` (int64). `lines` is the number of both.
    """

    rows: pl.DataFrame
    rejects: list[Reject]
    lines: int


def preview(line: bytes) -> str:
    """Return the beginning of a line or value, for a person to read."""
    text = line[: 4 * _PREVIEW_CHARACTERS].decode("utf-8", "backslashreplace")
    return text if len(text) <= _PREVIEW_CHARACTERS else text[:_PREVIEW_CHARACTERS] + "…"


def cast_columns(
    frame: pl.DataFrame,
    rejects: list[Reject],
    lines: int,
    schema: Schema,
    typed: frozenset[str] = frozenset(),
) -> ParsedLines:
    """Cast `frame`'s columns to the schema's types, and reject rows with a value that does not fit.

    `frame` has the log's columns, as text or numbers, and `@line`; those named in `typed` have
    their final type. `rejects` are lines that gave no row, and `lines` counts both.
    """
    columns: list[Column] = [c for c in schema.fields if c.role != "drop"]
    untyped = [column for column in columns if column.name not in typed]
    casts = {
        _name_staged(c): pl.col(c.name) if c.name in typed else _cast(c, frame.schema[c.name])
        for c in columns
    }
    rows = frame.select(**casts)
    raw_and_cast = pl.concat([frame, rows.rename(_name_cast)], how="horizontal")
    faults = raw_and_cast.select(
        _has_fault(column, frame.schema[column.name]).alias(column.name) for column in untyped
    )
    if untyped and (is_faulty := faults.select(pl.any_horizontal(pl.all())).to_series()).any():
        rejects = rejects + _reject(frame.filter(is_faulty), faults.filter(is_faulty), untyped)
        rows = rows.filter(~is_faulty)
    rows = rows.with_columns(_derive(column) for column in schema.sparse if column.source)
    order = ["label", *(c.name for c in schema.dense), *(c.name for c in schema.sparse)]
    rows = rows.select(order + ([TIME_COLUMN] if schema.time else []))
    return ParsedLines(rows, sorted(rejects, key=lambda reject: reject.line), lines)


def _reject(rows: pl.DataFrame, faults: pl.DataFrame, columns: list[Column]) -> list[Reject]:
    """Return a reject for each row, about its first faulty column."""
    first_faults = faults.to_numpy().argmax(axis=1)
    rejects = []
    for row, first in zip(rows.iter_rows(named=True), first_faults, strict=True):
        column = columns[int(first)]
        raw = row[column.name]
        text = preview(str(raw).encode("utf-8", "replace")) if raw is not None else ""
        rejects.append(Reject(row[LINE_COLUMN], column.name, _explain_fault(column), text))
    return rejects


def _name_cast(staged: str) -> str:
    """Return the name of a cast column beside its raw one."""
    return f"@typed {staged}"


def _name_staged(column: Column) -> str:
    """Return the staged name of a log's column."""
    if isinstance(column, LabelColumn):
        return "label"
    return TIME_COLUMN if isinstance(column, TimeColumn) else column.name


def _explain_fault(column: Column) -> str:
    """Return why a value does not fit `column`, as the reason of a reject."""
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


def _cast_number(column: str, dtype: pl.DataType) -> pl.Expr:
    raw = pl.col(column)
    if dtype == pl.String():
        raw = raw.str.strip_chars(" \t")
    return raw if dtype == pl.Float64() else raw.cast(pl.Float64(), strict=False)


def _cast(column: Column, dtype: pl.DataType) -> pl.Expr:
    """Cast the values of `column`, raw of `dtype`; what `_has_fault` finds becomes anything."""
    if isinstance(column, LabelColumn):
        return _cast_number(column.name, dtype).cast(pl.Int8(), strict=False)
    if isinstance(column, DenseColumn):
        number = _cast_number(column.name, dtype).fill_null(column.missing)
        if column.transform == "log1p":
            number = number.clip(lower_bound=0).log1p()
        return number.cast(pl.Float32())
    if isinstance(column, TimeColumn):
        return _cast_time(column, dtype)
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return _cast_category(pl.col(column.name), column, dtype)
    values, kind = _split_list(column, dtype)
    values = values.list.eval(_cast_category(pl.element(), column, kind))
    if column.multi.max_length is not None:
        values = values.list.tail(column.multi.max_length)
    return values.fill_null([])


def _has_fault(column: Column, dtype: pl.DataType) -> pl.Expr:
    """Return whether a raw value of `column`, with its cast one beside it, does not fit."""
    raw, value = pl.col(column.name), pl.col(_name_cast(_name_staged(column)))
    if isinstance(column, LabelColumn):
        return ~_cast_number(column.name, dtype).is_in([0.0, 1.0]).fill_null(False)
    if isinstance(column, DenseColumn):
        finite = _cast_number(column.name, dtype).is_finite().fill_null(False) & value.is_finite()
        if dtype == pl.String():
            raw = raw.str.strip_chars(" \t")  # Polars reads blanks in a column of numbers as null
        return is_present(raw, dtype) & ~finite
    if isinstance(column, TimeColumn):
        return value.is_null()
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return _has_category_fault(raw, value, column, dtype)
    values, kind = _split_list(column, dtype)
    element = pl.element()
    faults = values.list.eval(
        _has_category_fault(element, _cast_category(element, column, kind), column, kind)
    )
    return faults.list.any().fill_null(False)


def _cast_time(column: TimeColumn, dtype: pl.DataType) -> pl.Expr:
    raw = pl.col(column.name)
    if dtype.is_temporal():
        return raw.cast(pl.Datetime("us")).dt.epoch("s")
    if column.format == "unix":
        return raw.cast(pl.Int64(), strict=False)
    raw = raw.cast(pl.String())
    if "%H" in column.format and "%M" not in column.format:  # Polars parses no hour without it
        moment = (raw + " 00").str.to_datetime(column.format + " %M", strict=False)
    else:
        moment = raw.str.to_datetime(column.format, strict=False)
    return pl.when(_has_all_digits(raw, column.format)).then(moment.dt.epoch("s"))


def _has_all_digits(raw: pl.Expr, form: str) -> pl.Expr:
    """Return whether text has as many digits as a format of digits alone needs; else true.

    Polars also accepts fewer digits, and blanks: it reads ` 4102123` as %y%m%d%H as a day in 2041.
    """
    if not re.fullmatch("(%[YymdHMSj])+", form):
        return pl.lit(True)
    width = sum({"Y": 4, "j": 3}.get(directive, 2) for directive in form[1::2])
    number = raw.cast(pl.UInt64(), strict=False).is_not_null()
    return (raw.str.len_bytes() == width) & number & ~raw.str.starts_with("+")


def _split_list(column: SparseColumn, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    """Return the raw values of a multi-valued column as a list, and their type."""
    raw = pl.col(column.name)
    if isinstance(dtype, pl.List):
        return raw, cast(pl.DataType, dtype.inner)
    assert column.multi is not None
    text = raw.cast(pl.String())
    return text_or_null(text).str.split(column.multi.separator), pl.String()


def _cast_category(raw: pl.Expr, column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast a category; null is missing, and what `_has_category_fault` finds becomes anything."""
    if column.encoding == "string":
        return text_or_null(raw.cast(pl.String()))
    if column.encoding == "integer":
        if dtype == pl.String():
            raw = raw.str.strip_suffix(".0")
        return raw.cast(pl.Int64(), strict=False)
    target = pl.UInt32() if (column.digits or 16) <= 8 else pl.UInt64()
    if dtype == pl.String():
        return raw.str.to_integer(base=16, dtype=target, strict=False)
    return raw.cast(target, strict=False)


def _has_category_fault(
    raw: pl.Expr, value: pl.Expr, column: SparseColumn, dtype: pl.DataType
) -> pl.Expr:
    """Return whether a category, cast to `value`, does not fit `column`."""
    if column.encoding == "string":
        return pl.lit(False).and_(raw.is_null())
    fault = value.is_null()
    if dtype.is_float():
        fault = fault | (value.cast(pl.Float64()) != raw)
    if column.encoding == "hex" and dtype == pl.String():
        length = raw.str.len_bytes()  # Polars also accepts a sign and any number of digits
        wrong_length = length != column.digits if column.digits else length > 16
        fault = fault | wrong_length | raw.str.starts_with("+")
    elif column.encoding == "hex" and column.digits:
        fault = fault | (value > 16**column.digits - 1)
    return is_present(raw, dtype) & fault


def _derive(column: SparseColumn) -> pl.Expr:
    """Derive a category from the time: the hour, or the day of the week (Monday is 0)."""
    days, hours = pl.col(TIME_COLUMN) // 86_400, pl.col(TIME_COLUMN) % 86_400 // 3_600
    category = hours if column.derive == "hour_of_day" else (days + 3) % 7
    return category.cast(pl.Int64()).alias(column.name)
