"""Runs and levels: what they say is what the rows one by one say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.arrays import run_length as module
from fae.arrays.run_length import RowRanges, RunLengthArray

ROWS = 12
orders = st.permutations(range(ROWS)).flatmap(
    lambda every: st.integers(0, ROWS).map(lambda count: every[:count])
)
starts = st.sets(st.integers(0, ROWS - 1)).map(lambda some: np.array(sorted(some), dtype=np.int64))
numbers = st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS)


def runs_of(order: list[int], starts: np.ndarray) -> RowRanges:
    return RowRanges.from_rows(np.array(order, dtype=np.int64), starts)


def pieces(runs: RowRanges) -> list[list[int]]:
    """The rows of each run."""
    pairs = zip(runs.begins.tolist(), runs.lengths.tolist(), strict=True)
    return [list(range(begin, begin + length)) for begin, length in pairs]


def test_neighbours_are_one_run_unless_one_begins_there() -> None:
    order = [4, 5, 6, 2, 1, 0, 7, 8]
    assert pieces(runs_of(order, np.array([6]))) == [[4, 5], [6], [2], [1], [0], [7, 8]]


@given(order=orders, starts=starts)
def test_runs_are_the_order(order: list[int], starts: np.ndarray) -> None:
    found = runs_of(order, starts)
    assert found.to_rows().tolist() == order
    assert list(itertools.chain(*pieces(found))) == order
    assert found.size == len(order)
    assert all(row not in starts for piece in pieces(found) for row in piece[1:])


@given(order=orders, count=st.integers(0, ROWS), places=st.sets(st.integers(0, ROWS)))
def test_runs_are_shortened_and_cut(order: list[int], count: int, places: set[int]) -> None:
    found = runs_of(order, np.array([], dtype=np.int64))
    assert found.head(count).to_rows().tolist() == order[:count]
    cut = found.split_at(np.array(sorted(places), dtype=np.int64))
    assert cut.to_rows().tolist() == order
    assert {place for place in places if 0 < place <= len(order)} <= set(cut.ends.tolist())


@given(order=orders)
def test_the_rest_is_what_no_run_has(order: list[int]) -> None:
    rest = runs_of(order, np.array([], dtype=np.int64)).complement(ROWS)
    assert rest.to_rows().tolist() == sorted(set(range(ROWS)) - set(order))


@given(numbers=numbers, starts=starts, order=orders)
def test_levels_are_the_numbers(numbers: list[int], starts: np.ndarray, order: list[int]) -> None:
    levels = RunLengthArray.from_numpy(np.array(numbers), starts)
    assert levels.to_numpy().tolist() == numbers
    assert levels.total == sum(numbers)
    assert set(starts.tolist()) <= set(levels.begins.tolist())
    runs = runs_of(order, starts)
    assert levels.sum_ranges(runs).tolist() == [
        sum(numbers[r] for r in piece) for piece in pieces(runs)
    ]


@given(order=st.permutations(range(ROWS)))
def test_levels_are_assigned_run_by_run(order: list[int]) -> None:
    runs = runs_of(order, np.array([], dtype=np.int64))
    levels = RunLengthArray.from_ranges(runs, np.arange(runs.lengths.size))
    expected = {row: run for run, rows in enumerate(pieces(runs)) for row in rows}
    assert levels.to_numpy().tolist() == [expected[row] for row in range(ROWS)]


@pytest.mark.parametrize("chunk", [1, 3, 5, ROWS, 100])
@given(numbers=numbers)
def test_numbers_come_some_rows_at_a_time(chunk: int, numbers: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        found = list(RunLengthArray.from_numpy(np.array(numbers), np.array([0])).chunks())
    assert [first for first, _ in found] == list(range(0, ROWS, chunk))
    assert np.concatenate([some for _, some in found]).tolist() == numbers
