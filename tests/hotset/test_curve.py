"""The curve: at every budget, what the same order would have bought, exactly."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.hotset.coverage import COUNTED, Coverage, find_row_count
from fae.hotset.curve import choose_points as curve_points
from fae.hotset.curve import draw_curve, find_knee
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.problem import Objective, Ranking, StackedRows
from fae.hotset.rules.accesses import rank_by_accesses
from fae.hotset.selection import select_rows
from tests.support.stacked_tables import problem, stacked, stacks

ROWS = stacked([[1, 9, 5, 1], [0, 7, 2]], [4, 4])
HOT_INPUTS = Objective()


def at_every_cut(inputs: np.ndarray) -> Coverage:
    return Coverage(np.arange(inputs.size - 1), inputs)


NOTHING = at_every_cut(np.zeros(9, int))


def points(
    rows: StackedRows,
    reach: dict[str, Coverage],
    budget: int,
    *,
    objective: Objective = HOT_INPUTS,
    loads: np.ndarray | None = None,
    device: DeviceProfile | None = None,
) -> pl.DataFrame:
    """The curve of the paper's rule; splits that are not given are empty."""
    ranking = Ranking(rank_by_accesses(problem(rows)).ranked_rows, loads)
    everything = dict.fromkeys(("train", "valid", "test", COUNTED), NOTHING) | reach
    at = curve_points(rows, ranking.ranked_rows, budget)
    return draw_curve(rows, ranking, at, everything, objective, device)


def test_reach_counts_inputs_by_their_coldest_access() -> None:
    # Hot from the start, once 2 and once 3 rows are hot, never.
    reach = at_every_cut(np.array([1, 0, 4, 2, 3]))
    assert reach.total == 10
    assert reach.count_hot(np.array([0, 1, 2, 3])).tolist() == [1, 1, 5, 7]


@pytest.mark.parametrize(
    ("share", "rows"), [(0.0, 0), (0.1, 0), (0.11, 2), (0.5, 2), (0.7, 3), (0.71, None)]
)
def test_reach_knows_the_fewest_rows_for_a_share(share: float, rows: int | None) -> None:
    inputs = np.array([1, 0, 4, 2, 3])
    assert find_row_count(share, 3, lambda at: at_some(inputs, at)) == rows


def at_some(inputs: np.ndarray, cuts: np.ndarray) -> Coverage:
    """What is known at every cut, at some cuts only."""
    hot = np.cumsum(inputs)[cuts]
    return Coverage(cuts, np.diff(hot, prepend=0, append=inputs.sum()))


def test_a_search_among_many_rows_looks_at_few_cuts() -> None:
    inputs = np.random.default_rng(3).integers(0, 3, 3_000_000)
    hot = np.cumsum(inputs[:-1])
    for share in (0.0, 1e-7, 0.3, 0.77777, 0.999999):
        enough = np.flatnonzero(hot >= share * inputs.sum())
        expected = int(enough[0]) if enough.size else None
        assert find_row_count(share, inputs.size - 2, lambda at: at_some(inputs, at)) == expected


def test_reach_between_cuts_is_not_known() -> None:
    with pytest.raises(ValueError, match="only at its cuts"):
        Coverage(np.array([0, 5]), np.array([1, 2, 3])).count_hot(np.array([3]))


def test_the_curve_has_the_budget_and_everything_among_its_points() -> None:
    found = points(ROWS, {"train": at_every_cut(np.array([0, 0, 0, 5, 0, 0, 4, 1, 0]))}, 13)
    assert found.columns == ["budget_bytes", "hot_rows", "access_share", "train_hot_share"]
    budgets = found["budget_bytes"].to_list()
    assert budgets == sorted(set(budgets))
    assert {13, 28} <= set(budgets)
    assert found.filter(budget_bytes=13).rows() == [(13, 3, 10 / 25, 0.5)]
    assert found.rows()[-1] == (28, 7, 1.0, 1.0)


def test_a_budget_past_everything_is_a_point_too() -> None:
    reach = {"train": at_every_cut(np.array([0] * 7 + [1, 0]))}
    assert points(ROWS, reach, 1000).rows()[-1] == (1000, 7, 1.0, 1.0)


def test_inputs_that_can_never_be_hot_keep_the_share_below_1() -> None:
    found = points(ROWS, {"valid": at_every_cut(np.array([0] * 7 + [3, 1]))}, 28)
    assert found["valid_hot_share"].to_list()[-1] == pytest.approx(0.75)


def test_the_bound_is_of_the_counted_inputs_and_at_most_1() -> None:
    loads = np.array([0.0, 3.0, 1.0, 0.0, 0.0, 2.0, 0.0])
    counted = {COUNTED: at_every_cut(np.array([0, 0, 0, 0, 6, 0, 0, 0, 0]))}
    found = points(ROWS, counted, 16, loads=loads)
    bounds = dict(zip(found["budget_bytes"], found["bound"], strict=True))
    # Two rows beyond the two of id 0: loads 3 and 2 of 6.
    assert bounds[16] == pytest.approx(5 / 6)
    assert bounds[28] == 1.0
    by_accesses = points(ROWS, counted, 16, loads=loads, objective=Objective(0, 1))
    assert "bound" not in by_accesses.columns


def test_the_speedup_is_over_a_hot_set_of_nothing() -> None:
    device = DeviceProfile(
        device="a test",
        batch_size=1,
        seconds_per_hot_input=1.0,
        seconds_per_cold_input=3.0,
        seconds_per_cold_access=2.0,
    )
    counted = {COUNTED: at_every_cut(np.array([0, 0, 0, 5, 0, 0, 5, 0, 0]))}
    found = points(ROWS, counted, 13, device=device)
    speedups = dict(zip(found["budget_bytes"], found["speedup"], strict=True))
    nothing = 10 * 3.0 + 25 * 2.0
    # 13 bytes buy 3 rows: 5 inputs and 10 of 25 accesses are hot.
    assert speedups[13] == pytest.approx(nothing / (5 * 1.0 + 5 * 3.0 + 15 * 2.0))
    assert speedups[28] == pytest.approx(nothing / (10 * 1.0))


def test_the_knee_stands_highest_above_the_straight_line() -> None:
    found = pl.DataFrame(
        {"budget_bytes": [1, 10, 40, 70, 100], "train_hot_share": [0.0, 0.3, 0.9, 0.95, 1.0]}
    )
    assert find_knee(found) == 40


@given(rows=stacks(), budget=st.integers(1, 300), data=st.data())
def test_every_point_is_what_that_budget_buys(
    rows: StackedRows, budget: int, data: st.DataObject
) -> None:
    order = rank_by_accesses(problem(rows)).ranked_rows
    counts = data.draw(
        st.lists(st.integers(0, 5), min_size=order.size + 2, max_size=order.size + 2)
    )
    found = points(rows, {"train": at_every_cut(np.array(counts))}, budget)
    total, accessed = sum(counts), int(rows.accesses.sum())
    for point in found.iter_rows(named=True):
        if point["budget_bytes"] >= rows.row_bytes.sum():
            assert point["hot_rows"] == select_rows(rows, order, point["budget_bytes"]).hot_count
        bought = order.head(point["hot_rows"]).to_rows()
        assert point["access_share"] == rows.accesses[bought].sum() / max(accessed, 1)
        if total:
            assert point["train_hot_share"] == sum(counts[: point["hot_rows"] + 1]) / total
    for name in set(found.columns) - {"budget_bytes"}:
        assert found[name].is_sorted()
