"""What counts as a missing value: a field without text, or null in Parquet.

A missing category is a value of its own, a missing number becomes the column's `missing`, a missing
list is empty, and a missing label or time is a fault: `rows.py` and the schema see to that. The
compiled parser applies the same convention to bytes: a field of length 0 is missing.
"""

from collections.abc import Sequence

import polars as pl

MISSING_TEXT = ""


def fields_or_null(fields: Sequence[str]) -> list[str | None]:
    """Return the fields of a line, missing ones as None."""
    return [None if field == MISSING_TEXT else field for field in fields]


def text_or_null(text: pl.Expr) -> pl.Expr:
    """Return text with missing values as null."""
    return pl.when(text != MISSING_TEXT).then(text)


def strip_blanks(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return numbers of type `dtype` without the blanks around them, if they are text.

    Blanks alone are a missing number, as Polars reads them in a column of numbers.
    """
    return raw.str.strip_chars(" \t") if dtype == pl.String() else raw


def is_present(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return whether a raw column of type `dtype` has a value."""
    is_text = dtype == pl.String()
    return raw.is_not_null() & (raw != MISSING_TEXT) if is_text else raw.is_not_null()
