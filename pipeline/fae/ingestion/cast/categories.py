"""Cast categories, and lists of them, to the types in which they are staged."""

from typing import cast

import polars as pl

from fae.ingestion.cast.missing_values import is_present, strip_blanks, text_or_null
from fae.logs.columns import SparseColumn
from fae.logs.forms import ListText

#: Floats hold integers below two to this power exactly; 11 is that of the rest, 16-bit floats.
_MANTISSA_BITS: dict[pl.DataType, int] = {pl.Float64(): 53, pl.Float32(): 24}


def split_list(name: str, shape: ListText, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    """Return the raw values of a column of lists, and their type.

    A separator at the end of a text ends its last value; a value that is no list is a list of one.
    """
    raw = pl.col(name)
    if isinstance(dtype, pl.List):
        return raw, cast(pl.DataType, dtype.inner)
    if dtype != pl.String():
        return pl.when(raw.is_not_null()).then(pl.concat_list(raw)), dtype
    separator = shape.separator
    return text_or_null(raw.str.strip_suffix(separator)).str.split(separator), dtype


def cast_categories(column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast a column of categories, or of lists of them; a missing list is empty."""
    if column.buckets is not None:
        return _find_bucket(to_float(pl.col(column.name), dtype), column.buckets)
    if column.multi is None:
        return _cast_category(pl.col(column.name), column, dtype)
    values, kind = split_list(column.name, column.multi, dtype)
    values = values.list.eval(_cast_category(pl.element(), column, kind))
    if column.multi.max_length is not None:
        values = values.list.tail(column.multi.max_length)
    return values.fill_null([])


def has_categories_fault(column: SparseColumn, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return whether a raw category, cast to `value`, or one of a raw list does not fit."""
    raw = pl.col(column.name)
    if column.buckets is not None:
        raw = strip_blanks(raw, dtype)
        return is_present(raw, dtype) & ~to_float(raw, dtype).is_not_nan().fill_null(False)
    if column.multi is None:
        return _has_category_fault(raw, value, column, dtype)
    values, kind = split_list(column.name, column.multi, dtype)
    element = pl.element()
    faults = values.list.eval(
        _has_category_fault(element, _cast_category(element, column, kind), column, kind)
    )
    return faults.list.any().fill_null(False)


def explain_category_fault(column: SparseColumn) -> str:
    """Return why a value does not fit `column`, as the reason of a reject."""
    if column.buckets is not None:
        return "not a number"
    if column.encoding == "hex":
        return f"not {column.digits or '1 to 16'} hexadecimal digits"
    if column.encoding == "unsigned":
        return "not a 64-bit integer from 0 on"
    return "not a 64-bit integer" if column.encoding == "integer" else "not text"


def to_float(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return raw values of `dtype` as numbers, null where they are none."""
    raw = strip_blanks(raw, dtype)
    return raw if dtype == pl.Float64() else raw.cast(pl.Float64(), strict=False)


def _find_bucket(number: pl.Expr, buckets: tuple[float, ...]) -> pl.Expr:
    """Return how many of the ascending `buckets` a number reaches; null for none."""
    return pl.sum_horizontal((number >= edge).cast(pl.Int64()) for edge in buckets).pipe(
        lambda count: pl.when(number.is_not_null()).then(count)
    )


def _cast_category(raw: pl.Expr, column: SparseColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast a category; null is missing, and what `_has_category_fault` finds becomes anything."""
    if column.encoding == "string":
        return text_or_null(raw.cast(pl.String()))
    raw = strip_blanks(raw, dtype)
    if dtype.is_decimal():  # a cast would cut decimals off
        raw = raw.cast(pl.String()).str.replace(r"\.0*$", "")
    if column.encoding in ("integer", "unsigned"):
        if dtype == pl.String():
            raw = raw.str.strip_suffix(".0")
        target = pl.Int64() if column.encoding == "integer" else pl.UInt64()
        return raw.cast(target, strict=False)
    if column.is_long_hex:
        digits = f"^[0-9A-Fa-f]{{{column.digits}}}$"
        text = raw.cast(pl.String())
        return pl.when(text.str.contains(digits)).then(text.str.to_lowercase())
    number = pl.UInt32() if (column.digits or 16) <= 8 else pl.UInt64()
    if dtype == pl.String():
        return raw.str.to_integer(base=16, dtype=number, strict=False)
    return raw.cast(number, strict=False)


def _has_category_fault(
    raw: pl.Expr, value: pl.Expr, column: SparseColumn, dtype: pl.DataType
) -> pl.Expr:
    """Return whether a category, cast to `value`, does not fit `column`."""
    if column.encoding == "string":
        return (raw.is_nan() if dtype.is_float() else pl.lit(False).and_(raw.is_null())).fill_null(
            False
        )
    raw = strip_blanks(raw, dtype)
    fault = value.is_null()
    if dtype.is_float():  # beyond what it holds exactly, a float may stand for another integer
        exact = 2 ** _MANTISSA_BITS.get(dtype, 11)
        fault = fault | (value.cast(pl.Float64()) != raw) | (raw.abs() >= exact)
    if column.is_long_hex:
        return is_present(raw, dtype) & value.is_null()
    if column.encoding == "hex" and dtype == pl.String():
        length = raw.str.len_bytes()  # Polars also accepts a sign and any number of digits
        wrong_length = length != column.digits if column.digits else length > 16
        fault = fault | wrong_length | raw.str.starts_with("+")
    elif column.encoding == "hex" and column.digits:
        fault = fault | (value > 16**column.digits - 1)
    return is_present(raw, dtype) & fault
