"""The hot set: the rows that a byte budget buys, and the ids that put them first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes

from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.format.errors import BudgetError
from fae.hotset.rules.problem import StackedRows, cut


@dataclass(frozen=True)
class HotSet:
    """A cut of `placed`, the stacked rows in the order in which the budget buys them.

    The first `hot` of them are hot and take `used_bytes`; `hot_rows` (tables,) counts them.
    """

    placed: RowRanges
    hot: int
    used_bytes: int
    hot_rows: npt.NDArray[np.int64]


def hot_set(rows: StackedRows, placed: RowRanges, budget_bytes: int) -> HotSet:
    """The longest beginning of `placed` within `budget_bytes`.

    `placed` begins with id 0 of each table. Raises BudgetError where these do not fit.
    """
    check_budget(rows, budget_bytes)
    hot = cut(rows, placed, budget_bytes)
    hot_rows = rows.counts_of(placed.head(hot))
    return HotSet(placed, hot, int(hot_rows @ rows.row_bytes), hot_rows)


def check_budget(rows: StackedRows, budget_bytes: int) -> None:
    """Raise BudgetError where not even id 0 of every table fits in `budget_bytes`."""
    least = int(rows.row_bytes.sum())
    if budget_bytes < least:
        raise BudgetError(
            f"a hot budget of {format_bytes(budget_bytes)} cannot hold one row of each of the "
            f"{len(rows.tables)} tables. Give at least {least:,} bytes ({format_bytes(least)})."
        )


def id_offsets(rows: StackedRows, placed: RowRanges) -> RunLengthArray:
    """What to add to each stacked row for its data-set id: that is its place within its table.

    Rows that are not in `placed` follow by access rank. Id 0 stays out of vocabulary.
    """
    every = RowRanges.concat(placed, placed.complement(rows.count))
    table = rows.tables_of(every)
    by_table = np.argsort(table, kind="stable")
    before = np.cumsum(every.lengths[by_table]) - every.lengths[by_table]
    ids = np.empty(table.size, dtype=np.int64)
    ids[by_table] = before - rows.first[table[by_table]]
    return RunLengthArray.from_ranges(every, ids - every.begins)
