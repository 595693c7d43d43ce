"""Selection: what a budget buys, where it stops, and ids that put hot rows first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.format.errors import BudgetError
from fae.hotset.problem import StackedRows
from fae.hotset.rules.accesses import rank_by_accesses
from fae.hotset.selection import (
    append_unsampled_rows,
    assign_ids,
    check_budget,
    select_rows,
)
from tests.support import oracle
from tests.support.stacked_tables import counts_of_tables, problem, stacked, stacks

#: Table 0 has three rows beside id 0, table 1 has two, and table 2 has one without accesses.
ROWS = stacked([[1, 9, 5, 1], [0, 7, 2], [0, 0]], [4, 4, 4])


def rank(rows: StackedRows, budget_bytes: int = 1) -> RowRanges:
    """Return the ranking of the rule `accesses`."""
    return rank_by_accesses(problem(rows, budget_bytes)).ranked_rows


def data_set_ids(rows: StackedRows, order: RowRanges) -> np.ndarray:
    """Return the id of each stacked row."""
    ids = np.zeros(rows.count, dtype=np.uint32)
    assign_ids(rows, order, ids)
    return ids


@pytest.mark.parametrize(
    ("budget", "hot_rows", "used"),
    [
        (12, [1, 1, 1], 12),
        (15, [1, 1, 1], 12),
        (16, [2, 1, 1], 16),
        (20, [2, 2, 1], 20),
        (31, [3, 3, 1], 28),
        (32, [4, 3, 1], 32),
        (10**12, [4, 3, 1], 32),
    ],
)
def test_the_budget_buys_the_first_rows_of_the_ranking(
    budget: int, hot_rows: list[int], used: int
) -> None:
    selection = select_rows(ROWS, rank(ROWS), budget)
    assert selection.hot_rows.tolist() == hot_rows
    assert selection.used_bytes == used
    assert selection.hot_count == sum(hot_rows)


def test_a_budget_below_one_row_per_table_is_an_error_that_names_the_minimum() -> None:
    with pytest.raises(BudgetError, match=r"one row of each of the 3 tables.*at least 12 bytes"):
        select_rows(ROWS, rank(ROWS), 11)
    with pytest.raises(BudgetError, match=r"at least 12 bytes"):
        check_budget(ROWS, 11)


def test_ids_follow_the_ranking_within_each_table() -> None:
    rows = stacked([[1, 2, 2, 0, 1], [0, 1]], [4, 4])
    order = np.array([3, 2, 5, 6, 4])  # a rule may rank in any order
    ids = data_set_ids(rows, rows.to_ranges(np.concatenate([[0, 5], order[[0, 1, 3, 4]]])))
    # Table 0: id 0 stays, then stacked rows 3, 2 and 4 as ranked, then row 1, which is not.
    assert ids.tolist() == [0, 4, 2, 1, 3, 0, 1]


@given(rows=stacks(), budget=st.integers(1, 200), whole=st.integers(0, 60 * 256))
def test_hot_rows_fit_in_the_budget_and_one_more_would_not(
    rows: StackedRows, budget: int, whole: int
) -> None:
    ranked = rank(rows, whole)
    order = ranked.to_rows()
    assert sorted(set(order.tolist())) == sorted(order.tolist())
    assume(budget >= rows.row_bytes.sum())
    selection = select_rows(rows, ranked, budget)
    hot = order[: selection.hot_count]
    spent = sum(int(rows.row_bytes[rows.table_of_row[row]]) for row in hot)
    assert selection.used_bytes == spent <= budget
    if selection.hot_count < order.size:
        assert spent + rows.row_bytes[rows.table_of_row[order[selection.hot_count]]] > budget


@given(rows=stacks(), budget=st.integers(1, 200), whole=st.integers(0, 60 * 256))
def test_an_id_is_hot_exactly_if_its_row_was_bought(
    rows: StackedRows, budget: int, whole: int
) -> None:
    assume(budget >= rows.row_bytes.sum())
    ranked = rank(rows, whole)
    selection = select_rows(rows, ranked, budget)
    ids = data_set_ids(rows, ranked)
    bought = set(ranked.head(selection.hot_count).to_rows().tolist())
    for table in range(len(rows.tables)):
        own = np.arange(rows.table_offsets[table], rows.table_offsets[table + 1])
        assert sorted(ids[own]) == list(range(own.size))
        assert ids[own[0]] == 0
        assert {row for row in own.tolist() if ids[row] < selection.hot_rows[table]} == (
            bought & set(own.tolist())
        )


@given(counts=counts_of_tables, budget=st.integers(1, 6000), price=st.sampled_from([1, 4, 20]))
def test_the_selection_is_the_oracles(counts: list[list[int]], budget: int, price: int) -> None:
    counts = [[table[0], *sorted(table[1:], reverse=True)] for table in counts]
    rows = stacked(counts, [price + t for t in range(len(counts))])
    assume(budget >= rows.row_bytes.sum())
    plain = []
    for t, table in enumerate(counts):
        seen = {rank: count for rank, count in enumerate(table) if rank}
        plain.append(oracle.Table(f"t{t}", price + t, list(seen), seen, seen))
    used = oracle.choose_hot(plain, budget)
    ranked = rank(rows, budget)
    selection = select_rows(rows, ranked, budget)
    assert selection.used_bytes == used
    assert selection.hot_rows.tolist() == [table.hot_rows for table in plain]
    ids = data_set_ids(rows, ranked)
    for t, table_of in enumerate(plain):
        own = ids[rows.table_offsets[t] : rows.table_offsets[t + 1]].tolist()
        assert own == [0, *table_of.ids.values()]


@given(data=st.data(), counts=counts_of_tables)
def test_rows_that_a_sample_missed_follow_by_accesses_per_byte(
    data: st.DataObject, counts: list[list[int]]
) -> None:
    accesses = np.array([count + 1 for table in counts for count in table])
    sampled = [[0, *(data.draw(st.integers(0, 1)) for _ in table[1:])] for table in counts]
    rows = stacked(sampled, [4 + t for t in range(len(counts))])
    starts = np.union1d(rows.oov_rows, np.minimum(rows.oov_rows + 1, rows.count - 1))
    ranked = rank(rows)
    filled = append_unsampled_rows(rows, ranked, RunLengthArray.from_numpy(accesses, starts))
    order = filled.to_rows().tolist()
    assert order[: ranked.size] == ranked.to_rows().tolist()
    missed = set(range(rows.count)) - set(order[: ranked.size])
    assert order[ranked.size :] == sorted(
        missed, key=lambda row: (-accesses[row] / rows.cost_bytes[row], row)
    )


def test_a_ranking_that_leaves_out_sampled_rows_is_not_filled() -> None:
    ranked = rank(ROWS).head(5)
    assert append_unsampled_rows(ROWS, ranked, ROWS.access_counts) is ranked
