"""Cast numbers: labels, and dense features with their transforms."""

import polars as pl

from fae.ingestion.cast.categories import split_list, to_float
from fae.ingestion.cast.missing_values import is_present, strip_blanks
from fae.logs.columns import DenseColumn, LabelColumn

#: The label of a row without one, where such rows are kept.
NO_LABEL = -1


def cast_label(column: LabelColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast a label to int8."""
    label = to_float(pl.col(column.name), dtype).cast(pl.Int8(), strict=False)
    return label.fill_null(NO_LABEL) if column.missing == "keep" else label


def has_label_fault(column: LabelColumn, dtype: pl.DataType) -> pl.Expr:
    """Return whether a raw label is neither 0 nor 1, nor missing where it may be."""
    raw = pl.col(column.name)
    fault = ~to_float(raw, dtype).is_in([0.0, 1.0]).fill_null(False)
    return fault & is_present(raw, dtype) if column.missing == "keep" else fault


def cast_dense(column: DenseColumn, dtype: pl.DataType) -> list[pl.Expr]:
    """Cast a number, or each number of a vector, to a transformed float32."""
    return [_transform(number, column) for number in _list_numbers(column, dtype)]


def has_dense_fault(column: DenseColumn, dtype: pl.DataType, values: list[pl.Expr]) -> pl.Expr:
    """Return whether a raw number, or one of a vector, is not finite before or after its cast."""
    raw = pl.col(column.name)
    fault = pl.lit(False)
    for number, value in zip(_list_numbers(column, dtype), values, strict=True):
        fault = fault | ~(number.is_finite().fill_null(False) & value.is_finite())
    if column.vector is None:
        return is_present(strip_blanks(raw, dtype), dtype) & fault
    numbers, _ = split_list(column.name, column.vector, dtype)
    size = numbers.list.len()
    return (size != column.vector.size).fill_null(False) | (size.is_not_null() & fault)


def explain_number_fault(column: DenseColumn) -> str:
    """Return why a value does not fit `column`, as the reason of a reject."""
    if column.vector is None:
        return "not a finite number"
    return f"not {column.vector.size} finite numbers"


def _list_numbers(column: DenseColumn, dtype: pl.DataType) -> list[pl.Expr]:
    """Return the number that a column holds, or each of its vector's; null where it is missing."""
    if column.vector is None:
        return [to_float(pl.col(column.name), dtype)]
    values, kind = split_list(column.name, column.vector, dtype)
    places = (values.list.get(at, null_on_oob=True) for at in range(column.vector.size))
    return [to_float(value, kind) for value in places]


def _transform(number: pl.Expr, column: DenseColumn) -> pl.Expr:
    number = number.fill_null(column.missing)
    if column.clip is not None:
        number = number.clip(*column.clip)
    if column.transform == "log1p":
        number = number.clip(lower_bound=0).log1p()
    if column.moments is not None:
        number = (number - column.moments.mean) / column.moments.std
    return number.cast(pl.Float32())
