"""The rules `accesses` and `per-table`, whose orders an eye or a plain sort can check."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given

from fae.hotset.problem import StackedRows
from fae.hotset.rules.accesses import rank_by_accesses, rank_per_table
from tests.support.stacked_tables import problem, stacked, stacks, table_and_rank


def by_accesses(rows: StackedRows, budget_bytes: int = 1) -> list[tuple[int, int]]:
    """Return the ranking of `accesses` as (table, rank)."""
    return table_and_rank(rows, rank_by_accesses(problem(rows, budget_bytes)).ranked_rows.to_rows())


def test_rows_are_ranked_by_accesses_over_all_tables() -> None:
    rows = stacked([[9, 5, 1], [9, 7, 5, 2]], [4, 4])
    assert by_accesses(rows)[2:] == [(1, 1), (0, 1), (1, 2), (1, 3), (0, 2)]


def test_a_row_of_twice_the_bytes_needs_twice_the_accesses() -> None:
    rows = stacked([[0, 10, 7], [0, 6, 5, 3]], [8, 4])
    # Per four bytes: 5 and 3.5 in the first table, 6, 5 and 3 in the second.
    assert by_accesses(rows)[2:] == [(1, 1), (0, 1), (1, 2), (0, 2), (1, 3)]


def test_unseen_rows_are_left_out_and_id_0_is_not_ranked_by_accesses() -> None:
    rows = stacked([[100, 1, 0], [0], [50, 0]], [4, 4, 4])
    assert by_accesses(rows) == [(0, 0), (1, 0), (2, 0), (0, 1)]


def test_small_tables_come_first_as_wholes_unseen_rows_included() -> None:
    rows = stacked([[1, 9, 5, 1], [0, 7, 2], [0, 0]], [4, 4, 4])
    zeros = [(0, 0), (1, 0), (2, 0)]
    assert by_accesses(rows, 256 * 8 - 1) == [*zeros, (0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]
    assert by_accesses(rows, 256 * 8) == [*zeros, (2, 1), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]
    assert by_accesses(rows, 256 * 12)[3:] == [(1, 1), (1, 2), (2, 1), (0, 1), (0, 2), (0, 3)]
    assert by_accesses(rows, 256 * 99)[3:] == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (2, 1)]


@given(rows=stacks())
def test_the_order_is_by_density_then_table_then_rank(rows: StackedRows) -> None:
    def sort_key(row: tuple[int, int]) -> tuple[Fraction, int, int]:
        table, rank = row
        count = int(rows.accesses[rows.table_offsets[table] + rank])
        return -Fraction(count, int(rows.row_bytes[table])), table, rank

    all_rows = table_and_rank(rows, np.arange(rows.count))
    seen = [row for row in all_rows if row[1] and sort_key(row)[0]]
    assert by_accesses(rows)[len(rows.tables) :] == sorted(seen, key=sort_key)


def test_per_table_takes_the_same_share_of_each_table() -> None:
    rows = stacked([[0, 9, 9, 9, 9], [0, 2, 1]], [4, 4])
    ranked = table_and_rank(rows, rank_per_table(problem(rows)).ranked_rows.to_rows())
    assert ranked[2:] == [(0, 1), (0, 2), (1, 1), (0, 3), (0, 4), (1, 2)]
