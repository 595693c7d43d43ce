"""Rules: what every rule promises, and the orders of those that count rows one by one."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.hotset.rules import RULES
from fae.hotset.rules.accesses import accesses
from fae.hotset.rules.per_table import per_table
from fae.hotset.rules.problem import Problem, StackedInputs, StackedRows
from fae.hotset.rules.threshold import threshold


def stacked(tables: list[list[int]], prices: list[int]) -> StackedRows:
    """Tables of these accesses by rank, rank 0 first."""
    return StackedRows.of(
        tables=tuple(f"t{i}" for i in range(len(tables))),
        first=np.cumsum([0, *map(len, tables)]),
        accesses=np.array([one for table in tables for one in table], dtype=np.int64),
        row_bytes=np.array(prices, dtype=np.int64),
    )


def inputs_of(sets: list[list[int]]) -> StackedInputs:
    """Inputs that access these stacked rows."""
    return StackedInputs(
        np.array([row for one in sets for row in one], dtype=np.int32),
        np.cumsum([0, *map(len, sets)]).astype(np.int64),
    )


def problem(
    rows: StackedRows, budget_bytes: int = 1, sets: list[list[int]] | None = None
) -> Problem:
    """The choice of a hot set among these rows for these inputs."""
    return Problem(rows, lambda: inputs_of(sets or []), budget_bytes)


def named(rows: StackedRows, order: np.ndarray) -> list[tuple[int, int]]:
    """Stacked rows as (table, rank)."""
    return [(int(rows.table_of[row]), int(row - rows.first[rows.table_of[row]])) for row in order]


counts_of_tables = st.lists(
    st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=4
)


@st.composite
def stacks(draw: st.DrawFn) -> StackedRows:
    """Tables of any accesses and prices."""
    found = draw(counts_of_tables)
    prices = [draw(st.sampled_from([1, 2, 3, 20])) for _ in found]
    return stacked(found, prices)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A few inputs over a few tables, accesses counted from them, and a budget."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    first = np.cumsum([0, *sizes]).tolist()
    sets = []
    for _ in range(draw(st.integers(0, 8))):
        ranks = [draw(st.integers(0, size - 1)) for size in sizes]
        sets.append([at + rank for at, rank in zip(first, ranks, strict=False) if rank])
    counts = np.bincount([row for one in sets for row in one] or [0], minlength=first[-1])
    counts[first[:-1]] = 0
    tables = [counts[a:b].tolist() for a, b in itertools.pairwise(first)]
    rows = stacked(tables, [draw(st.sampled_from([1, 2, 5])) for _ in sizes])
    least = int(rows.row_bytes.sum())
    budget = draw(st.integers(least, least + 15))
    return problem(rows, budget, sets)


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
    placed = RULES[name](given_problem).placed.to_rows()
    assert np.array_equal(rows.accesses, before)
    tables = len(rows.tables)
    assert placed[:tables].tolist() == rows.out_of_vocabulary.tolist()
    assert len(set(placed.tolist())) == placed.size
    assert set(placed[tables:].tolist()) <= set(rows.seen.tolist())
    if name != "threshold":
        assert set(placed[tables:].tolist()) == set(rows.seen.tolist())
    again = RULES[name](given_problem).placed.to_rows()
    assert np.array_equal(placed, again)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_bears_a_log_without_accesses(name: str) -> None:
    placed = RULES[name](problem(stacked([[0, 0], [0]], [4, 4]), 100, [[], []])).placed.to_rows()
    assert placed.tolist() == [0, 2]


# ── The paper's ──────────────────────────────────────────────────────────────────────────────────


def by_accesses(rows: StackedRows, budget_bytes: int = 1) -> list[tuple[int, int]]:
    return named(rows, accesses(problem(rows, budget_bytes)).placed.to_rows())


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
        count = int(rows.accesses[rows.first[table] + rank])
        return -Fraction(count, int(rows.row_bytes[table])), table, rank

    everything = named(rows, np.arange(rows.accesses.size))
    seen = [row for row in everything if row[1] and key(row)[0]]
    assert order == sorted(seen, key=key)


# ── Others ───────────────────────────────────────────────────────────────────────────────────────


def test_per_table_takes_the_same_share_of_each_table() -> None:
    rows = stacked([[0, 9, 9, 9, 9], [0, 2, 1]], [4, 4])
    placed = named(rows, per_table(problem(rows)).placed.to_rows())
    assert placed[2:] == [(0, 1), (0, 2), (1, 1), (0, 3), (0, 4), (1, 2)]


def test_the_threshold_is_the_lowest_whose_rows_fit() -> None:
    rows = stacked([[0, 9, 5, 5, 1], [0, 7, 2]], [4, 4])
    for budget, least, count in [(8, 10, 2), (16, 6, 4), (23, 6, 4), (24, 3, 6), (28, 2, 7)]:
        ranking = threshold(problem(rows, budget))
        assert ranking.notes["threshold"] == least
        assert ranking.placed.size == count
        assert ranking.notes["true_bytes"] == 4 * count <= budget
