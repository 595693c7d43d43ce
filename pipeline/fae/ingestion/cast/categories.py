"""Cast categories, and lists of them, to the types in which they are staged."""

from typing import cast

import polars as pl

from fae.ingestion.cast.missing_values import is_present, strip_blanks, text_or_null
from fae.logs.columns import SparseColumn

#: Floats hold integers below two to this power exactly; 11 is that of the rest, 16-bit floats.
_MANTISSA_BITS: dict[pl.DataType, int] = {pl.Float64(): 53, pl.Float32(): 24}


def split_list(column: SparseColumn, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    """Return the raw values of a multi-valued column as a list, and their type.

    A separator at the end of a text ends its last value; a value that is no list is a list of one.
    """
    raw = pl.col(column.name)
    if isinstance(dtype, pl.List):
        return raw, cast(pl.DataType, dtype.inner)
    if dtype != pl.String():
        return pl.when(raw.is_not_null()).then(pl.concat_list(raw)), dtype
    assert column.multi is not None
    separator = column.multi.separator
    return text_or_null(raw.str.strip_suffix(separator)).str.split(separator), dtype


def cast_category(raw: pl.Expr, column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast a category; null is missing, and what `has_category_fault` finds becomes anything."""
    if column.encoding == "string":
        return text_or_null(raw.cast(pl.String()))
    raw = strip_blanks(raw, dtype)
    if dtype.is_decimal():  # a cast would cut decimals off
        raw = raw.cast(pl.String()).str.replace(r"\.0*$", "")
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
    raw = strip_blanks(raw, dtype)
    fault = value.is_null()
    if dtype.is_float():  # beyond what it holds exactly, a float may stand for another integer
        exact = 2 ** _MANTISSA_BITS.get(dtype, 11)
        fault = fault | (value.cast(pl.Float64()) != raw) | (raw.abs() >= exact)
    if column.encoding == "hex" and dtype == pl.String():
        length = raw.str.len_bytes()  # Polars also accepts a sign and any number of digits
        wrong_length = length != column.digits if column.digits else length > 16
        fault = fault | wrong_length | raw.str.starts_with("+")
    elif column.encoding == "hex" and column.digits:
        fault = fault | (value > 16**column.digits - 1)
    return is_present(raw, dtype) & fault
