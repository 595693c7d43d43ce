"""Cast raw columns to the types of the schema; rows with a value that does not fit are rejected.

For each column, one Polars expression casts the values and a second one finds the faults.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from fae.arrays.arrow import Int64Array
from fae.arrays.value_hash import hash_values
from fae.format.manifest import LABEL, SPLITS
from fae.ingestion.cast.categories import (
    cast_categories,
    explain_category_fault,
    has_categories_fault,
    to_float,
)
from fae.ingestion.cast.numbers import (
    cast_dense,
    cast_label,
    explain_number_fault,
    has_dense_fault,
    has_label_fault,
)
from fae.ingestion.cast.raw_columns import LINE_COLUMN, name_columns
from fae.ingestion.cast.times import (
    MICROSECOND_COLUMN,
    TIME_COLUMN,
    cast_time,
    derive_category,
    explain_time_fault,
    has_time_fault,
    split_seconds,
)
from fae.ingestion.rejects import Reject, preview_value
from fae.logs.columns import (
    Column,
    DenseColumn,
    LabelColumn,
    SparseColumn,
    SplitColumn,
    TimeColumn,
    WeightColumn,
)
from fae.logs.schema import RANDOM, Schema

#: Where rows are split by a column, what decides their order in place of the time (int64). No
#: schema can give a column this name.
SPLIT_COLUMN = "@split"
#: An order by hash has so many bits: as a time in microseconds, it is one before the year 2113.
ORDER_BITS = 52


@dataclass(frozen=True)
class ParsedLines:
    """A text's rows in the order of its lines, and its malformed lines.

    `rows` has label (int8), the dense columns (float32, transformed), the sparse columns (uint32 or
    uint64 for hex, int64, string, or lists of these; null is missing) and, where the schema has
    them, `@time` (int64) and perhaps `@microsecond` (int32), further labels (int8), the weight
    (float32), keys (string) and `@split` (int64). `lines` is the number of lines, each a row or a
    reject; `surplus` is how many more of these there are, where lines are joined or exploded.
    `row_lines` (rows,) is the line of each row, from 0.
    """

    rows: pl.DataFrame
    rejects: list[Reject]
    lines: int
    row_lines: Int64Array
    surplus: int = 0


def cast_columns(
    frame: pl.DataFrame,
    rejects: list[Reject],
    lines: int,
    schema: Schema,
    typed: frozenset[str] = frozenset(),
) -> ParsedLines:
    """Cast `frame`'s columns to the schema's types, and reject rows with a value that does not fit.

    `frame` has the log's fields, as text or numbers, and `@line`; those named in `typed` have their
    final type. `rejects` are lines that gave no row, and `lines` counts both.
    """
    frame, source, rejects, typed = name_columns(frame, rejects, schema, typed)
    columns: list[Column] = [c for c in schema.fields if c.role != "drop"]
    untyped = [column for column in columns if column.name not in typed]
    types = frame.schema  # made anew at each access
    casts = {
        name: value
        for c in columns
        for name, value in zip(
            _name_staged(c, schema),
            [pl.col(c.name)] if c.name in typed else _cast(c, types[c.name]),
            strict=True,
        )
    }
    rows = frame.select(**casts)
    faults = _find_faults(frame, rows, untyped, schema)
    if untyped and (is_faulty := faults.select(pl.any_horizontal(pl.all())).to_series()).any():
        frames = source.filter(is_faulty), rows.filter(is_faulty), faults.filter(is_faulty)
        rejects = rejects + _reject(*frames, untyped, schema)
        rows, frame = rows.filter(~is_faulty), frame.filter(~is_faulty)
    rows = _finish(rows, schema, typed)
    row_lines = frame[LINE_COLUMN].cast(pl.Int64()).to_numpy()
    return ParsedLines(rows, sorted(rejects, key=lambda reject: reject.line), lines, row_lines)


def _find_faults(
    frame: pl.DataFrame, rows: pl.DataFrame, untyped: list[Column], schema: Schema
) -> pl.DataFrame:
    """Return whether each value of the `untyped` columns does not fit, raw and as cast."""
    if not untyped:
        return pl.DataFrame()
    types = frame.schema
    raw_and_cast = pl.concat([frame, rows.rename(_name_cast)], how="horizontal")
    return raw_and_cast.select(
        _has_fault(
            column, types[column.name], *map(_name_cast, _name_staged(column, schema))
        ).alias(column.name)
        for column in untyped
    )


def _finish(rows: pl.DataFrame, schema: Schema, typed: frozenset[str]) -> pl.DataFrame:
    """Return cast rows with what derives from their columns, in the order of a staged part."""
    extra = []
    if schema.time is not None:
        if schema.time.name not in typed:
            rows = split_seconds(rows)
        extra = [name for name in (TIME_COLUMN, MICROSECOND_COLUMN) if name in rows.columns]
        zone = schema.time.zone
        derived = (derive_category(column, zone) for column in schema.sparse if column.source)
        rows = rows.with_columns(derived)
    extra += [column.name for column in schema.passed]
    if schema.split_by not in (None, RANDOM):
        rows = rows.with_columns(_order_by_hash(rows[schema.split_by]))
    if SPLIT_COLUMN in rows.columns:
        extra.append(SPLIT_COLUMN)
    labels = [LABEL] if schema.labels else []
    features = [c.name for c in (*schema.dense, *schema.sparse) if c not in schema.histories]
    return rows.select(labels + features + extra)


def _order_by_hash(staged: pl.Series) -> pl.Series:
    """Return an order of staged values by their hash alone, where a split keeps each together."""
    distinct = staged.unique()
    order = pl.Series((hash_values(distinct) >> (64 - ORDER_BITS)).astype(np.int64))
    table = pl.DataFrame({"value": distinct, SPLIT_COLUMN: order})
    joined = staged.to_frame("value").join(
        table, on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return joined[SPLIT_COLUMN]


def _reject(
    source: pl.DataFrame,
    rows: pl.DataFrame,
    faults: pl.DataFrame,
    columns: list[Column],
    schema: Schema,
) -> list[Reject]:
    """Return a reject for each row, as the log has it and cast, about its first faulty column."""
    rejects = []
    found = source.to_dict()
    for row, first in enumerate(faults.to_numpy().argmax(axis=1).tolist()):
        column = columns[first]
        raw = found[column.log_name][row] if column.log_name in found else None
        value = rows[_name_staged(column, schema)[0]][row]
        reason = _explain_fault(column, value)
        rejects.append(Reject(source[LINE_COLUMN][row], column.name, reason, preview_value(raw)))
    return rejects


def _name_cast(staged: str) -> str:
    """Return the name of a cast column beside its raw one."""
    return f"@typed {staged}"


def _name_staged(column: Column, schema: Schema) -> list[str]:
    """Return the staged names of a log's column."""
    if isinstance(column, LabelColumn):
        return [LABEL if column == schema.label else column.name]
    if isinstance(column, DenseColumn):
        return [feature.name for feature in column.features]
    if isinstance(column, SplitColumn):
        return [SPLIT_COLUMN]
    return [TIME_COLUMN if isinstance(column, TimeColumn) else column.name]


def _explain_fault(column: Column, value: object) -> str:
    """Return why a value, cast to `value`, does not fit `column`, as the reason of a reject."""
    if isinstance(column, LabelColumn):
        return "the label is missing" if column.has_rule else "the label is not 0 or 1"
    if isinstance(column, DenseColumn):
        return explain_number_fault(column)
    if isinstance(column, TimeColumn):
        return explain_time_fault(column, value)
    if isinstance(column, WeightColumn):
        return "not a finite weight from 0 on"
    if isinstance(column, SplitColumn):
        return "not train, valid or test"
    assert isinstance(column, SparseColumn)
    return explain_category_fault(column)


def _cast(column: Column, dtype: pl.DataType) -> list[pl.Expr]:
    """Cast the values of `column`, raw of `dtype`; what `_has_fault` finds becomes anything."""
    raw = pl.col(column.name)
    if isinstance(column, LabelColumn):
        return [cast_label(column, dtype)]
    if isinstance(column, DenseColumn):
        return cast_dense(column, dtype)
    if isinstance(column, TimeColumn):
        return [cast_time(column, dtype)]
    if isinstance(column, WeightColumn):
        return [to_float(raw, dtype).cast(pl.Float32())]
    if isinstance(column, SplitColumn):
        text = raw.cast(pl.String())
        return [text.replace_strict(dict(zip(SPLITS, range(3), strict=True)), default=None)]
    if isinstance(column, SparseColumn):
        return [cast_categories(column, dtype)]
    return [raw.cast(pl.String()).fill_null("")]


def _has_fault(column: Column, dtype: pl.DataType, *staged: str) -> pl.Expr:
    """Return whether a raw value of `column`, with its cast ones as `staged`, does not fit."""
    raw, value = pl.col(column.name), pl.col(staged[0])
    if isinstance(column, LabelColumn):
        return has_label_fault(column, dtype)
    if isinstance(column, DenseColumn):
        return has_dense_fault(column, dtype, [pl.col(name) for name in staged])
    if isinstance(column, TimeColumn):
        return has_time_fault(value)
    if isinstance(column, WeightColumn):
        return ~(value.is_finite() & (value >= 0)).fill_null(False)
    if isinstance(column, SplitColumn):
        return value.is_null()
    if isinstance(column, SparseColumn):
        return has_categories_fault(column, value, dtype)
    return pl.lit(False).and_(raw.is_null())
