"""Stage single cells of a row without Polars, whose expressions cost ten times as much as one row.

A cell is plain where its Python type and its text leave no doubt about what it means. What is
returned for it is what the general parser makes of a column of such values; for any other cell it
is ODD, and the general parser must read it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fae.ingestion.cast.times import MAX_SECONDS, SECONDS_PER_DAY
from fae.ingestion.fast_parser import DENSE, HEX32, HEX64, INTEGER, TEXT, choose_kind
from fae.logs.columns import DenseColumn, SparseColumn, TimeColumn

#: What a stager returns for a cell that is not plain.
ODD = object()
#: Returns the staged value of a cell; None for a missing category.
Stager = Callable[[Any], Any]

_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_MAX_EXACT = 2**53
_is_integer = re.compile("-?[0-9]{1,18}").fullmatch
_is_decimal = re.compile(r"[0-9]{1,7}(\.[0-9]{1,8})?|-[1-9][0-9]{0,6}(\.[0-9]{1,8})?").fullmatch


def choose_stager(column: DenseColumn | SparseColumn | TimeColumn) -> Stager:
    """Return what stages the cells of a column; a time becomes whole seconds since 1970."""
    kind = choose_kind(column)
    if not (column.is_raw and column.is_plain):
        return _is_odd
    if isinstance(column, TimeColumn):
        if column.zone is not None:
            return _is_odd
        return _stage_unix if kind == INTEGER else _stage_time_of(column.format)
    if isinstance(column, DenseColumn):
        return _stage_dense_of(column) if kind == DENSE else _is_odd
    if column.multi is not None:
        return _stage_list_of(column)
    if kind in (HEX32, HEX64):
        return _stage_hex_of(column.digits)
    return {INTEGER: _stage_integer, TEXT: _stage_text}.get(kind, _is_odd)


def _is_odd(_cell: object) -> Any:
    return ODD


def _stage_integer(cell: Any) -> Any:
    if cell is None or cell == "":
        return None
    if type(cell) is int:
        return cell if -(2**63) <= cell < 2**63 else ODD
    return int(cell) if type(cell) is str and _is_integer(cell) else ODD


def _stage_hex_of(digits: int | None) -> Stager:
    is_hex = re.compile(f"[0-9a-fA-F]{{{digits or '1,16'}}}").fullmatch
    bound = 16 ** (digits or 16)

    def stage_hex(cell: Any) -> Any:
        if type(cell) is str and is_hex(cell):
            return int(cell, 16)
        if cell is None or cell == "":
            return None
        return cell if type(cell) is int and 0 <= cell < bound else ODD

    return stage_hex


def _stage_text(cell: Any) -> Any:
    if cell is None or cell == "":
        return None
    if type(cell) is str:
        return cell
    return str(cell) if type(cell) is int and -(2**63) <= cell < 2**63 else ODD


def _stage_list_of(column: SparseColumn) -> Stager:
    assert column.multi is not None
    one = choose_stager(column.model_copy(update={"multi": None}))
    separator, longest = column.multi.separator, column.multi.max_length

    def stage_list(cell: Any) -> Any:
        if cell is None or cell == "":
            return []
        if type(cell) is str:
            cell = cell.removesuffix(separator)
            cell = cell.split(separator) if cell else []
        if type(cell) is not list or len({type(value) for value in cell} - {type(None)}) > 1:
            return ODD
        values = [one(value) for value in cell]
        if any(value is ODD for value in values):
            return ODD
        return values if longest is None else values[-longest:]

    return stage_list


def _stage_dense_of(column: DenseColumn) -> Stager:
    missing, takes_log = column.missing, column.transform == "log1p"

    def stage_dense(cell: Any) -> Any:
        if cell is None or cell == "":
            number = missing
        elif type(cell) is float:
            number = cell
        elif (type(cell) is int and -_MAX_EXACT < cell < _MAX_EXACT) or (
            type(cell) is str and _is_decimal(cell)
        ):
            number = float(cell)
        else:
            return ODD
        if not -_MAX_FLOAT32 <= number <= _MAX_FLOAT32:  # nor is NaN
            return ODD
        return math.log1p(max(number, 0.0)) if takes_log else number

    return stage_dense


def _stage_unix(cell: Any) -> Any:
    staged = _stage_integer(cell)
    if staged is None or staged is ODD:
        return ODD
    return staged if -MAX_SECONDS < staged < MAX_SECONDS else ODD


def _stage_time_of(form: str) -> Stager:
    """Return the stager of times in a format that Python and Polars understand alike."""
    if not re.fullmatch("(%[YymdHMS]|[-:/ T.])+", form):
        return _is_odd

    def stage_time(cell: Any) -> Any:
        if type(cell) is not str:
            return ODD
        try:
            moment = datetime.strptime(cell, form).replace(tzinfo=UTC)
        except ValueError:
            return ODD
        # Some fewer digits pass, too; and years of two digits turn at 69 here and at 70 there.
        if moment.year in (1969, 2069) or moment.strftime(form) != cell:
            return ODD
        seconds = int(moment.timestamp())
        return seconds if -MAX_SECONDS < seconds < MAX_SECONDS else ODD

    return stage_time


def derive_one(column: SparseColumn, seconds: int) -> int:
    """Return a category that derives from the time, as `cast.times.derive_category` does."""
    if column.derive == "hour_of_day":
        return seconds % SECONDS_PER_DAY // 3_600
    return (seconds // SECONDS_PER_DAY + 3) % 7
