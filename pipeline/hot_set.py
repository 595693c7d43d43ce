"""The hot set: the rows that a byte budget buys, and the ids that put them first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes

from pipeline.errors import BudgetError
from pipeline.rules import Order, StackedRows


@dataclass(frozen=True)
class HotSet:
    """A cut of `placed`, the stacked rows in the order in which the budget buys them.

    The first `hot` of them are hot and take `used_bytes`; `hot_rows` (tables,) counts them.
    """

    placed: Order
    hot: int
    used_bytes: int
    hot_rows: npt.NDArray[np.int64]


def placement(rows: StackedRows, order: Order, whole_table_bytes: int) -> Order:
    """All rows that a budget may buy, in the order in which it buys them.

    First id 0 of every table, since most unseen inputs touch one; then the tables of at most
    `whole_table_bytes`, whole (FAE's rule for small tables); then the rest of `order`.
    """
    sizes = np.diff(rows.first) * rows.row_bytes
    whole = sizes <= whole_table_bytes
    ranked = np.zeros(rows.accesses.size, dtype=np.bool_)
    ranked[order] = True
    whole_unranked = np.flatnonzero(whole[rows.table_of] & ~ranked)
    out_of_vocabulary = rows.first[:-1]
    whole_unranked = np.setdiff1d(whole_unranked, out_of_vocabulary, assume_unique=True)
    in_whole = whole[rows.table_of[order]]
    return np.concatenate([out_of_vocabulary, order[in_whole], whole_unranked, order[~in_whole]])


def hot_set(rows: StackedRows, placed: Order, budget_bytes: int) -> HotSet:
    """The longest beginning of `placed` within `budget_bytes`.

    Raises BudgetError where not even id 0 of every table fits.
    """
    spent = np.cumsum(rows.row_bytes[rows.table_of[placed]])
    hot = int(np.searchsorted(spent, budget_bytes, side="right"))
    if hot < len(rows.tables):
        least = int(rows.row_bytes.sum())
        raise BudgetError(
            f"a hot budget of {format_bytes(budget_bytes)} cannot hold one row of each of the "
            f"{len(rows.tables)} tables. Give at least {least:,} bytes ({format_bytes(least)})."
        )
    hot_rows = np.bincount(rows.table_of[placed[:hot]], minlength=len(rows.tables))
    return HotSet(placed, hot, int(spent[hot - 1]), hot_rows)


def data_set_ids(rows: StackedRows, placed: Order) -> npt.NDArray[np.int64]:
    """The id of each stacked row within its table, hottest first, shape (rows,).

    Rows that are not in `placed` follow by access rank. Id 0 stays out of vocabulary.
    """
    place = np.full(rows.accesses.size, placed.size, dtype=np.int64)
    place[placed] = np.arange(placed.size)
    by_table_and_place = np.lexsort((place, rows.table_of))
    ids = np.empty(rows.accesses.size, dtype=np.int64)
    ids[by_table_and_place] = np.arange(ids.size) - rows.first[rows.table_of[by_table_and_place]]
    return ids
