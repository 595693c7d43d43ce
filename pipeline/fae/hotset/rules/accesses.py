"""The FAE paper's rule: rows with the most accesses, over all tables."""

from __future__ import annotations

import numpy as np

from fae.arrays.run_length import RowRanges
from fae.hotset.rules.problem import Problem, Ranking, StackedRows

#: A table is hot whole where it takes at most this share of the budget: 1 MiB of FAE's 256 MiB.
WHOLE_TABLE_SHARE = 1 / 256


def accesses(problem: Problem) -> Ranking:
    """Small tables whole, then seen rows by accesses per byte, most first.

    With one embedding dim for all tables this is the order by accesses (Adnan et al., "Accelerating
    Recommendation System Training by Leveraging Popular Choices", PVLDB 15(1), 2021). With several,
    a row that costs twice the bytes must earn twice the accesses. Ties go by table, then by rank.
    """
    rows = problem.rows
    order = by_density(rows)
    return Ranking(small_tables_first(rows, order, int(problem.budget_bytes * WHOLE_TABLE_SHARE)))


def by_density(rows: StackedRows) -> RowRanges:
    """Seen rows by accesses per byte, most first; ties by table, then by rank."""
    levels, runs = rows.levels, rows.levels.ranges
    kept = (levels.values > 0) & ~np.isin(runs.begins, rows.out_of_vocabulary)
    seen = runs.take(kept)
    density = levels.values[kept] / rows.row_bytes[rows.tables_of(seen)]
    return seen.take(np.argsort(-density, kind="stable"))


def small_tables_first(rows: StackedRows, order: RowRanges, whole_table_bytes: int) -> RowRanges:
    """Id 0 of every table, then the tables of at most `whole_table_bytes`, whole, then `order`."""
    sizes = np.diff(rows.first)
    whole = sizes * rows.row_bytes <= whole_table_bytes
    in_whole = whole[rows.tables_of(order)]
    first = rows.runs(rows.out_of_vocabulary)
    seen = order.take(in_whole)
    others = RowRanges(rows.first[:-1], sizes).take(~whole)
    unseen = RowRanges.concat(first.take(whole), seen, others).complement(rows.count)
    return RowRanges.concat(first, seen, unseen, order.take(~in_whole))
