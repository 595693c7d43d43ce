"""The hot set: the rows that a byte budget buys, and the ids that put them first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes

from pipeline.errors import BudgetError
from pipeline.kernel import kernel
from pipeline.rules.problem import Order, StackedRows, cut


@dataclass(frozen=True)
class HotSet:
    """A cut of `placed`, the stacked rows in the order in which the budget buys them.

    The first `hot` of them are hot and take `used_bytes`; `hot_rows` (tables,) counts them.
    """

    placed: Order
    hot: int
    used_bytes: int
    hot_rows: npt.NDArray[np.int64]


def hot_set(rows: StackedRows, placed: Order, budget_bytes: int) -> HotSet:
    """The longest beginning of `placed` within `budget_bytes`.

    `placed` begins with id 0 of each table. Raises BudgetError where these do not fit.
    """
    check_budget(rows, budget_bytes)
    hot = cut(rows, placed, budget_bytes)
    bought = placed[:hot]
    hot_rows = np.bincount(rows.table_of[bought], minlength=len(rows.tables))
    return HotSet(placed, hot, int(hot_rows @ rows.row_bytes), hot_rows)


def check_budget(rows: StackedRows, budget_bytes: int) -> None:
    """Raise BudgetError where not even id 0 of every table fits in `budget_bytes`."""
    least = int(rows.row_bytes.sum())
    if budget_bytes < least:
        raise BudgetError(
            f"a hot budget of {format_bytes(budget_bytes)} cannot hold one row of each of the "
            f"{len(rows.tables)} tables. Give at least {least:,} bytes ({format_bytes(least)})."
        )


def data_set_ids(rows: StackedRows, placed: Order) -> npt.NDArray[np.uint32]:
    """The id of each stacked row within its table, hottest first, shape (rows,).

    Rows that are not in `placed` follow by access rank. Id 0 stays out of vocabulary.
    """
    return _numbered(placed, rows.table_of, len(rows.tables))


@kernel
def _numbered(placed: Order, table_of: Order, tables: int) -> npt.NDArray[np.uint32]:
    following = np.zeros(tables, dtype=np.uint32)
    ids = np.empty(table_of.size, dtype=np.uint32)
    left_out = np.ones(table_of.size, dtype=np.bool_)
    for row in placed:
        ids[row] = following[table_of[row]]
        following[table_of[row]] += 1
        left_out[row] = False
    for row in range(table_of.size):
        if left_out[row]:
            ids[row] = following[table_of[row]]
            following[table_of[row]] += 1
    return ids
