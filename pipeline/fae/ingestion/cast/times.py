"""Cast times to seconds since 1970, and derive categories from them."""

import re

import polars as pl

from fae.logs.columns import SparseColumn, TimeColumn

#: The staged time column: seconds since 1970 (int64). No schema can give a column this name.
TIME_COLUMN = "@time"


def cast_time(column: TimeColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast the times of `column`, raw of `dtype`; those that do not fit become null."""
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


def derive_category(column: SparseColumn) -> pl.Expr:
    """Derive a category from the time: the hour, or the day of the week (Monday is 0)."""
    days, hours = pl.col(TIME_COLUMN) // 86_400, pl.col(TIME_COLUMN) % 86_400 // 3_600
    category = hours if column.derive == "hour_of_day" else (days + 3) % 7
    return category.cast(pl.Int64()).alias(column.name)
