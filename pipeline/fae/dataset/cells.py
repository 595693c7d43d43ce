"""Make columns of the cells of rows, each cell by its own type: what stands beside it is nothing.

A row's cells have the types that Python gives them, and a column of a table has one type. So rows
whose cells in a column have several types go to tables of their own.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from fae.format.errors import DatasetError
from fae.logs.columns import Column, SparseColumn

#: The type of a cell: that of its column, or `(list, type of its values)`. None fits any type.
_CellType = Any

_DTYPES: dict[type, pl.DataType] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    str: pl.String(),
    bytes: pl.Binary(),
    datetime.datetime: pl.Datetime("us"),
    datetime.date: pl.Date(),
}
#: Missing values of pandas, by the names of their types.
_MISSING_TYPES = ("NAType", "NaTType")


def build_frames(
    columns: Mapping[str, pl.Series | Sequence[Any]], fields: Mapping[str, Column], rows: int
) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.int64]], pl.DataFrame]]:
    """Yield tables, and the number of each of their rows, from columns or cells by the log's name.

    Raises DatasetError for a cell of a type that no column has.
    """
    series = {name: column for name, column in columns.items() if isinstance(column, pl.Series)}
    cells = {
        name: [simplify_cell(cell, fields[name]) for cell in column]
        for name, column in columns.items()
        if name not in series
    }
    types = {name: [_find_type(cell) for cell in column] for name, column in cells.items()}
    mixed = [name for name in cells if len(set(types[name]) - {None}) > 1]
    groups: dict[tuple[_CellType, ...], list[int]] = {}
    for row, key in enumerate(zip(*(types[name] for name in mixed), strict=True)):
        groups.setdefault(key, []).append(row)
    if not mixed:
        typed = [_to_series(name, column, types[name]) for name, column in cells.items()]
        yield np.arange(rows), pl.DataFrame([*series.values(), *typed])
        return
    for numbers in groups.values():
        picked = [column.gather(numbers) for column in series.values()]
        for name, column in cells.items():
            kinds = [types[name][row] for row in numbers]
            picked.append(_to_series(name, [column[row] for row in numbers], kinds, numbers))
        yield np.array(numbers), pl.DataFrame(picked)


def simplify_cell(cell: Any, column: Column) -> Any:
    """Return a cell of NumPy's, pandas' or the decimal module's types as one of Python's own."""
    kind = type(cell)
    if cell is None or kind in (str, int, float):
        return cell
    if isinstance(cell, np.generic) and not isinstance(cell, np.datetime64):
        return cell.item()
    if isinstance(cell, np.ndarray | pl.Series | tuple | list):
        return [simplify_cell(value, column) for value in cell]
    if kind.__name__ in _MISSING_TYPES:
        return None
    if isinstance(cell, Decimal):
        is_category = isinstance(column, SparseColumn) and column.encoding != "string"
        return int(cell) if is_category and cell == cell.to_integral_value() else str(cell)
    if isinstance(cell, np.datetime64):
        return cell.astype("datetime64[us]").item()
    if isinstance(cell, datetime.datetime):
        if cell.tzinfo is not None:
            cell = cell.astimezone(datetime.UTC).replace(tzinfo=None)
        return datetime.datetime.combine(cell.date(), cell.time())  # pandas has a type of its own
    return cell


def _find_type(cell: Any) -> _CellType:
    if cell is None:
        return None
    if not isinstance(cell, list):
        return type(cell)
    kinds = {type(value) for value in cell} - {type(None)}
    return (list, *sorted(kinds, key=str))


def _to_series(
    name: str, cells: list[Any], types: Sequence[_CellType], rows: Sequence[int] | None = None
) -> pl.Series:
    """Return cells of one type as a column; `rows` are their rows' numbers, if not 0 and so on."""
    kinds = set(types) - {None}
    kind = next(iter(kinds - {(list,)}), (list,) if kinds else None)
    is_list, values = isinstance(kind, tuple), kind[1:] if isinstance(kind, tuple) else (kind,)
    dtypes = [_DTYPES.get(value) for value in values if value is not None]
    if len(dtypes) > 1 or None in dtypes:
        row = types.index(kind)
        row = row if rows is None else rows[row]
        names = " and ".join(value.__name__ for value in values)
        raise DatasetError(
            f"row {row}, column {name}: {'a list of ' * is_list}{names} cannot be encoded. Give "
            "text, numbers or times, and values of one type in a list."
        )
    inner = dtypes[0] if dtypes else pl.String()
    assert inner is not None
    for dtype in (inner, pl.Int128()):
        try:
            return pl.Series(name, cells, dtype=pl.List(dtype) if is_list else dtype)
        except (OverflowError, TypeError):
            if dtype != pl.Int64():
                raise
    raise AssertionError("no integer type holds the cells")
