"""The FAE paper's rule: rows with the most accesses, over all tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.rules.problem import Order, Problem, Ranking, StackedRows

#: A table is hot whole where it takes at most this share of the budget: 1 MiB of FAE's 256 MiB.
WHOLE_TABLE_SHARE = 1 / 256


def accesses(problem: Problem) -> Ranking:
    """Small tables whole, then seen rows by accesses per byte, most first.

    With one embedding dim for all tables this is the order by accesses (Adnan et al., "Accelerating
    Recommendation System Training by Leveraging Popular Choices", PVLDB 15(1), 2021). With several,
    a row that costs twice the bytes must earn twice the accesses. Ties go by table, then by rank.
    """
    rows = problem.rows
    order = by_density(rows, rows.accesses)
    return Ranking(small_tables_first(rows, order, int(problem.budget_bytes * WHOLE_TABLE_SHARE)))


def by_density(rows: StackedRows, worth: npt.NDArray[np.int64]) -> Order:
    """Seen rows by `worth` (rows,) per byte, most first; ties by table, then by rank.

    Neighbours of a table that are worth the same stay together, and are sorted as one.
    """
    found, table = worth[rows.seen], rows.table_of[rows.seen]
    new = np.ones(found.size, dtype=np.bool_)
    new[1:] = (found[1:] != found[:-1]) | (table[1:] != table[:-1])
    begins = np.flatnonzero(new)
    density = found[begins] / rows.row_bytes[table[begins]]
    order = np.argsort(-density, kind="stable")
    lengths = np.diff(begins, append=found.size)[order]
    moved = begins[order] - (np.cumsum(lengths) - lengths)
    place = np.repeat(moved.astype(np.int32), lengths)
    place += np.arange(found.size, dtype=np.int32)
    ordered: Order = rows.seen[place]
    return ordered


def small_tables_first(rows: StackedRows, order: Order, whole_table_bytes: int) -> Order:
    """Id 0 of every table, then the tables of at most `whole_table_bytes`, whole, then `order`."""
    whole = np.diff(rows.first) * rows.row_bytes <= whole_table_bytes
    left_out = whole[rows.table_of]
    left_out[order] = False
    left_out[rows.out_of_vocabulary] = False
    in_whole = whole[rows.table_of[order]]
    parts = [rows.out_of_vocabulary, order[in_whole], np.flatnonzero(left_out), order[~in_whole]]
    return np.concatenate(parts, dtype=np.int32)
