"""Row ranges and run-length arrays say what the rows one by one say."""

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
values = st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS)


def ranges_of(order: list[int], starts: np.ndarray) -> RowRanges:
    return RowRanges.from_rows(np.array(order, dtype=np.int64), starts)


def rows_by_range(ranges: RowRanges) -> list[list[int]]:
    """Return the rows of each range."""
    pairs = zip(ranges.begins.tolist(), ranges.lengths.tolist(), strict=True)
    return [list(range(begin, begin + length)) for begin, length in pairs]


def test_neighbours_are_one_range_unless_one_starts_there() -> None:
    order = [4, 5, 6, 2, 1, 0, 7, 8]
    assert rows_by_range(ranges_of(order, np.array([6]))) == [[4, 5], [6], [2], [1], [0], [7, 8]]


@given(order=orders, starts=starts)
def test_ranges_hold_the_rows_in_their_order(order: list[int], starts: np.ndarray) -> None:
    found = ranges_of(order, starts)
    assert found.to_rows().tolist() == order
    assert list(itertools.chain(*rows_by_range(found))) == order
    assert found.size == len(order)
    assert all(row not in starts for rows in rows_by_range(found) for row in rows[1:])


@given(order=orders, count=st.integers(0, ROWS), positions=st.sets(st.integers(0, ROWS)))
def test_ranges_are_shortened_and_split(order: list[int], count: int, positions: set[int]) -> None:
    found = ranges_of(order, np.array([], dtype=np.int64))
    assert found.head(count).to_rows().tolist() == order[:count]
    cut = found.split_at(np.array(sorted(positions), dtype=np.int64))
    assert cut.to_rows().tolist() == order
    assert {position for position in positions if 0 < position <= len(order)} <= set(
        cut.ends.tolist()
    )


@given(order=orders)
def test_the_complement_is_the_rows_that_no_range_has(order: list[int]) -> None:
    rest = ranges_of(order, np.array([], dtype=np.int64)).complement(ROWS)
    assert rest.to_rows().tolist() == sorted(set(range(ROWS)) - set(order))


@given(values=values, starts=starts, order=orders)
def test_a_run_length_array_holds_each_rows_value(
    values: list[int], starts: np.ndarray, order: list[int]
) -> None:
    array = RunLengthArray.from_numpy(np.array(values), starts)
    assert array.to_numpy().tolist() == values
    assert array.total == sum(values)
    assert set(starts.tolist()) <= set(array.begins.tolist())
    ranges = ranges_of(order, starts)
    assert array.sum_ranges(ranges).tolist() == [
        sum(values[row] for row in rows) for rows in rows_by_range(ranges)
    ]


@given(order=orders, cuts=st.lists(st.integers(0, ROWS), max_size=4).map(sorted))
def test_rows_are_filled_by_the_cuts_before_their_position(
    order: list[int], cuts: list[int]
) -> None:
    out = np.full(ROWS, 99)
    numbers = np.arange(10, 11 + len(cuts))
    ranges_of(order, np.array([], dtype=np.int64)).fill(np.array(cuts, np.int64), numbers, out)
    behind = {row: sum(cut <= place for cut in cuts) for place, row in enumerate(order)}
    assert out.tolist() == [10 + behind[row] if row in behind else 99 for row in range(ROWS)]


@pytest.mark.parametrize("chunk", [1, 3, 5, ROWS, 100])
@given(values=values)
def test_values_come_in_chunks(chunk: int, values: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS_PER_CHUNK", chunk)
        found = list(RunLengthArray.from_numpy(np.array(values), np.array([0])).chunks())
    assert [first for first, _ in found] == list(range(0, ROWS, chunk))
    assert np.concatenate([some for _, some in found]).tolist() == values


@given(values=values, taken=st.lists(st.integers(0, ROWS - 1)))
def test_values_of_some_rows_are_taken(values: list[int], taken: list[int]) -> None:
    array = RunLengthArray.from_numpy(np.array(values), np.array([0]))
    assert array.take(np.array(taken, dtype=np.int32)).tolist() == [values[row] for row in taken]
