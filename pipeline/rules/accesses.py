"""The FAE paper's rule: rows with the most accesses, over all tables."""

from __future__ import annotations

import numpy as np

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
    order = by_density(rows)
    return Ranking(small_tables_first(rows, order, int(problem.budget_bytes * WHOLE_TABLE_SHARE)))


def by_density(rows: StackedRows) -> Order:
    """Seen rows by accesses per byte, most first; ties by table, then by rank.

    Neighbours of a table with as many accesses stay together, and are sorted as one.
    """
    edge = np.ones(rows.accesses.size, dtype=np.bool_)
    np.not_equal(rows.accesses[1:], rows.accesses[:-1], out=edge[1:])
    edge[rows.first[:-1]] = True
    edge[np.minimum(rows.first[:-1] + 1, edge.size - 1)] = True  # id 0 is on its own
    begins = np.flatnonzero(edge)
    lengths = np.diff(begins, append=edge.size)
    kept = (rows.accesses[begins] > 0) & ~np.isin(begins, rows.out_of_vocabulary)
    begins, lengths = begins[kept], lengths[kept]
    density = rows.accesses[begins] / rows.row_bytes[rows.table_of[begins]]
    order = np.argsort(-density, kind="stable")
    begins, lengths = begins[order], lengths[order]
    moved = begins - (np.cumsum(lengths) - lengths)
    ordered: Order = np.repeat(moved.astype(np.int32), lengths)
    ordered += np.arange(ordered.size, dtype=np.int32)
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
