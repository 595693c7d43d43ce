"""Cast categories, and lists of them, to the types in which they are staged."""

from typing import cast

import polars as pl

from fae.ingestion.cast.missing_values import is_present, text_or_null
from fae.logs.columns import SparseColumn


def split_list(column: SparseColumn, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    """Return the raw values of a multi-valued column as a list, and their type."""
    raw = pl.col(column.name)
    if isinstance(dtype, pl.List):
        return raw, cast(pl.DataType, dtype.inner)
    assert column.multi is not None
    text = raw.cast(pl.String())
    return text_or_null(text).str.split(column.multi.separator), pl.String()


def cast_category(raw: pl.Expr, column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
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


def has_category_fault(
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
