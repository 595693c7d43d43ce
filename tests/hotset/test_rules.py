"""Rules: what every rule promises, and the orders of those that count rows one by one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from fae.hotset.problem import Problem, StackedRows
from fae.hotset.rules import RULES
from fae.hotset.rules.accesses import rank_by_accesses, rank_per_table
from fae.hotset.rules.threshold import rank_by_threshold
from tests.support.stacked_tables import problem, problems, stacked, stacks


def named(rows: StackedRows, order: np.ndarray) -> list[tuple[int, int]]:
    """Stacked rows as (table, rank)."""
    return [
        (int(rows.table_of_row[row]), int(row - rows.table_offsets[rows.table_of_row[row]]))
        for row in order
    ]


# ── Every rule ───────────────────────────────────────────────────────────────────────────────────


def test_the_rules_are_these() -> None:
    assert list(RULES) == ["inputs", "accesses", "threshold", "per-table"]


@pytest.mark.parametrize("name", sorted(RULES))
@given(given_problem=problems())
def test_every_rule_places_id_0_of_each_table_then_seen_rows_once(
    name: str, given_problem: Problem
) -> None:
    rows = given_problem.rows
    before = rows.accesses.copy()
    placed = RULES[name](given_problem).ranked_rows.to_rows()
    assert np.array_equal(rows.accesses, before)
    tables = len(rows.tables)
    assert placed[:tables].tolist() == rows.oov_rows.tolist()
    assert len(set(placed.tolist())) == placed.size
    assert set(placed[tables:].tolist()) <= set(rows.seen_rows.tolist())
    if name != "threshold":
        assert set(placed[tables:].tolist()) == set(rows.seen_rows.tolist())
    again = RULES[name](given_problem).ranked_rows.to_rows()
    assert np.array_equal(placed, again)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_bears_a_log_without_accesses(name: str) -> None:
    placed = RULES[name](
        problem(stacked([[0, 0], [0]], [4, 4]), 100, [[], []])
    ).ranked_rows.to_rows()
    assert placed.tolist() == [0, 2]


# ── The paper's ──────────────────────────────────────────────────────────────────────────────────


def by_accesses(rows: StackedRows, budget_bytes: int = 1) -> list[tuple[int, int]]:
    return named(rows, rank_by_accesses(problem(rows, budget_bytes)).ranked_rows.to_rows())


def test_rows_come_by_accesses_over_all_tables() -> None:
    rows = stacked([[9, 5, 1], [9, 7, 5, 2]], [4, 4])
    assert by_accesses(rows)[2:] == [(1, 1), (0, 1), (1, 2), (1, 3), (0, 2)]


def test_a_row_of_twice_the_bytes_must_earn_twice_the_accesses() -> None:
    rows = stacked([[0, 10, 7], [0, 6, 5, 3]], [8, 4])
    # Per four bytes: 5 and 3.5 in the first table, 6, 5 and 3 in the second.
    assert by_accesses(rows)[2:] == [(1, 1), (0, 1), (1, 2), (0, 2), (1, 3)]


def test_rows_that_were_never_seen_are_left_out_and_id_0_is_not_ranked() -> None:
    rows = stacked([[100, 1, 0], [0], [50, 0]], [4, 4, 4])
    assert by_accesses(rows) == [(0, 0), (1, 0), (2, 0), (0, 1)]


def test_small_tables_come_whole_before_the_rest_even_their_unseen_rows() -> None:
    rows = stacked([[1, 9, 5, 1], [0, 7, 2], [0, 0]], [4, 4, 4])
    zeros = [(0, 0), (1, 0), (2, 0)]
    assert by_accesses(rows, 256 * 8 - 1) == [*zeros, (0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]
    assert by_accesses(rows, 256 * 8) == [*zeros, (2, 1), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]
    assert by_accesses(rows, 256 * 12)[3:] == [(1, 1), (1, 2), (2, 1), (0, 1), (0, 2), (0, 3)]
    assert by_accesses(rows, 256 * 99)[3:] == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (2, 1)]


@given(rows=stacks())
def test_the_order_is_by_density_then_table_then_rank(rows: StackedRows) -> None:
    order = by_accesses(rows)[len(rows.tables) :]

    def key(row: tuple[int, int]) -> tuple[Fraction, int, int]:
        table, rank = row
        count = int(rows.accesses[rows.table_offsets[table] + rank])
        return -Fraction(count, int(rows.row_bytes[table])), table, rank

    everything = named(rows, np.arange(rows.accesses.size))
    seen = [row for row in everything if row[1] and key(row)[0]]
    assert order == sorted(seen, key=key)


# ── Others ───────────────────────────────────────────────────────────────────────────────────────


def test_per_table_takes_the_same_share_of_each_table() -> None:
    rows = stacked([[0, 9, 9, 9, 9], [0, 2, 1]], [4, 4])
    placed = named(rows, rank_per_table(problem(rows)).ranked_rows.to_rows())
    assert placed[2:] == [(0, 1), (0, 2), (1, 1), (0, 3), (0, 4), (1, 2)]


def test_the_threshold_is_the_lowest_whose_rows_fit() -> None:
    rows = stacked([[0, 9, 5, 5, 1], [0, 7, 2]], [4, 4])
    for budget, least, count in [(8, 10, 2), (16, 6, 4), (23, 6, 4), (24, 3, 6), (28, 2, 7)]:
        ranking = rank_by_threshold(problem(rows, budget))
        assert ranking.notes["threshold"] == least
        assert ranking.ranked_rows.size == count
        assert ranking.notes["true_bytes"] == 4 * count <= budget
