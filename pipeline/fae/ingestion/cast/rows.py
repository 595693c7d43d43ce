"""Cast raw columns to the types of the schema; rows with a value that does not fit are rejected.

For each column, one Polars expression casts the values and a second one finds the faults.
"""

from dataclasses import dataclass

import polars as pl

from fae.ingestion.cast.categories import cast_category, has_category_fault, split_list
from fae.ingestion.cast.missing_values import is_present, strip_blanks
from fae.ingestion.cast.times import (
    MICROSECOND_COLUMN,
    TIME_COLUMN,
    cast_time,
    derive_category,
    explain_time_fault,
    has_time_fault,
    split_seconds,
)
from fae.ingestion.rejects import Reject
from fae.logs.columns import Column, DenseColumn, LabelColumn, SparseColumn, TimeColumn
from fae.logs.schema import Schema

#: In raw frames, the number of each row's line, from 0.
LINE_COLUMN = "@line"
_PREVIEW_CHARACTERS = 80


@dataclass(frozen=True)
class ParsedLines:
    """A text's rows in the order of its lines, and its malformed lines.

    `rows` has label (int8), the dense columns (float32, transformed), the sparse columns (uint32 or
    uint64 for hex, int64, string, or lists of these; null is missing) and, where the schema has a
    time, `@time` (int64) and perhaps `@microsecond` (int32). `lines` is the number of both.
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
        faulty_rows = raw_and_cast.filter(is_faulty)
        rejects = rejects + _reject(faulty_rows, faults.filter(is_faulty), untyped)
        rows = rows.filter(~is_faulty)
    times = []
    if schema.time is not None:
        if schema.time.name not in typed:
            rows = split_seconds(rows)
        times = [name for name in (TIME_COLUMN, MICROSECOND_COLUMN) if name in rows.columns]
    rows = rows.with_columns(derive_category(column) for column in schema.sparse if column.source)
    order = ["label", *(c.name for c in schema.dense), *(c.name for c in schema.sparse)]
    rows = rows.select(order + times)
    return ParsedLines(rows, sorted(rejects, key=lambda reject: reject.line), lines)


def _reject(rows: pl.DataFrame, faults: pl.DataFrame, columns: list[Column]) -> list[Reject]:
    """Return a reject for each row, raw and cast, about its first faulty column."""
    first_faults = faults.to_numpy().argmax(axis=1)
    rejects = []
    for row, first in zip(rows.iter_rows(named=True), first_faults, strict=True):
        column = columns[int(first)]
        raw = row[column.name]
        text = preview(str(raw).encode("utf-8", "replace")) if raw is not None else ""
        value = row[_name_cast(_name_staged(column))]
        rejects.append(Reject(row[LINE_COLUMN], column.name, _explain_fault(column, value), text))
    return rejects


def _name_cast(staged: str) -> str:
    """Return the name of a cast column beside its raw one."""
    return f"@typed {staged}"


def _name_staged(column: Column) -> str:
    """Return the staged name of a log's column."""
    if isinstance(column, LabelColumn):
        return "label"
    return TIME_COLUMN if isinstance(column, TimeColumn) else column.name


def _explain_fault(column: Column, value: object) -> str:
    """Return why a value, cast to `value`, does not fit `column`, as the reason of a reject."""
    if isinstance(column, LabelColumn):
        return "the label is not 0 or 1"
    if isinstance(column, DenseColumn):
        return "not a finite number"
    if isinstance(column, TimeColumn):
        return explain_time_fault(column, value)
    assert isinstance(column, SparseColumn)
    if column.encoding == "hex":
        return f"not {column.digits or '1 to 16'} hexadecimal digits"
    return "not a 64-bit integer" if column.encoding == "integer" else "not text"


def _cast_number(column: str, dtype: pl.DataType) -> pl.Expr:
    raw = pl.col(column)
    raw = strip_blanks(raw, dtype)
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
        return cast_time(column, dtype)
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return cast_category(pl.col(column.name), column, dtype)
    values, kind = split_list(column, dtype)
    values = values.list.eval(cast_category(pl.element(), column, kind))
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
        return is_present(strip_blanks(raw, dtype), dtype) & ~finite
    if isinstance(column, TimeColumn):
        return has_time_fault(value)
    assert isinstance(column, SparseColumn)
    if column.multi is None:
        return has_category_fault(raw, value, column, dtype)
    values, kind = split_list(column, dtype)
    element = pl.element()
    faults = values.list.eval(
        has_category_fault(element, cast_category(element, column, kind), column, kind)
    )
    return faults.list.any().fill_null(False)
