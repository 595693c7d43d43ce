"""Selection: the rows that a byte budget buys from a ranking, and the ids that put them first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes

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


def compute_id_offsets(rows: StackedRows, ranked_rows: RowRanges) -> RunLengthArray:
    """Return what to add to each stacked row to get its id in the data set.

    The id is the row's position among the rows of its table in `ranked_rows`; rows that are not
    ranked follow by access rank. Id 0 stays out of vocabulary.
    """
    all_rows = RowRanges.concat(ranked_rows, ranked_rows.complement(rows.count))
    # Ranges move as wholes, so compute where each begins once they are grouped by table.
    table = rows.find_tables(all_rows)
    table_type = np.min_scalar_type(len(rows.tables))  # NumPy sorts small numbers by radix
    by_table = np.argsort(table.astype(table_type), kind="stable")
    position = np.cumsum(all_rows.lengths[by_table]) - all_rows.lengths[by_table]
    first_ids = np.empty(table.size, dtype=np.int64)
    first_ids[by_table] = position - rows.table_offsets[table[by_table]]
    return RunLengthArray.from_ranges(all_rows, first_ids - all_rows.begins)
