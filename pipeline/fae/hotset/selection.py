"""Selection: the rows that a byte budget buys from a ranking, and the ids that put them first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes

from fae.arrays.arrow import Int64Array
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.format.errors import BudgetError
from fae.hotset.problem import StackedRows, count_affordable, rank_others


@dataclass(frozen=True)
class Selection:
    """The first `hot_count` of `ranked_rows`, which are hot and take `used_bytes`.

    `hot_rows` (tables,) counts them by table.
    """

    ranked_rows: RowRanges
    hot_count: int
    used_bytes: int
    hot_rows: npt.NDArray[np.int64]


def select_rows(rows: StackedRows, ranked_rows: RowRanges, budget_bytes: int) -> Selection:
    """Return as many of `ranked_rows`, from the first on, as fit in `budget_bytes`.

    `ranked_rows` begins with id 0 of each table. Raises BudgetError where these do not fit.
    """
    check_budget(rows, budget_bytes)
    hot_count = count_affordable(rows, ranked_rows, budget_bytes)
    hot_rows = rows.count_per_table(ranked_rows.head(hot_count))
    return Selection(ranked_rows, hot_count, int(hot_rows @ rows.row_bytes), hot_rows)


def append_unsampled_rows(
    rows: StackedRows, ranked_rows: RowRanges, accesses: RunLengthArray
) -> RowRanges:
    """Return `ranked_rows`, and behind them the rows that they lack, by `accesses` per byte.

    A sample of train misses most rare rows, so no rule ranks them, though `accesses`, those in all
    of train, are known: bytes that are left over are better spent on them than on nothing. Ties are
    by table, then by access rank. A ranking that leaves out sampled rows too, as `threshold` does,
    is returned as it is: its rule wants no more.
    """
    unranked = ranked_rows.complement(rows.count)
    if not unranked.size or rows.access_counts.sum_ranges(unranked).any():
        return ranked_rows
    return RowRanges.concat(ranked_rows, rank_others(rows, ranked_rows, accesses))


def check_budget(rows: StackedRows, budget_bytes: int) -> None:
    """Raise BudgetError where id 0 of every table does not fit in `budget_bytes`."""
    min_bytes = int(rows.row_bytes.sum())
    if budget_bytes < min_bytes:
        raise BudgetError(
            f"a hot budget of {format_bytes(budget_bytes)} cannot hold one row of each of the "
            f"{len(rows.tables)} tables. Use at least {min_bytes:,} bytes "
            f"({format_bytes(min_bytes)})."
        )


def assign_ids(rows: StackedRows, ranked_rows: RowRanges, ids: npt.NDArray[np.uint32]) -> None:
    """Set the id in the data set of each stacked row; `ids` (rows,) are 0 before.

    The id is the row's position among the rows of its table in `ranked_rows`, which begins with id
    0 of each table; rows that are not ranked follow by access rank. Id 0 stays out of vocabulary.
    """
    tables = rows.find_tables(ranked_rows)
    _assign_ids(ranked_rows.begins, ranked_rows.lengths, tables, rows.table_offsets, ids)


@kernel
def _assign_ids(
    begins: Int64Array,
    lengths: Int64Array,
    tables: Int64Array,
    table_offsets: Int64Array,
    ids: npt.NDArray[np.uint32],
) -> None:
    """Assign as `assign_ids`, where `tables` has that of each range."""
    next_ids = np.zeros(table_offsets.size - 1, np.int64)
    for i in range(begins.size):
        for row in range(begins[i], begins[i] + lengths[i]):
            ids[row] = next_ids[tables[i]]
            next_ids[tables[i]] += 1
    for table in range(next_ids.size):
        for row in range(table_offsets[table] + 1, table_offsets[table + 1]):
            if ids[row] == 0:  # not ranked
                ids[row] = next_ids[table]
                next_ids[table] += 1
