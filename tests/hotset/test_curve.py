"""The curve: what every budget would buy from the same ranking, exactly."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.hotset.coverage import COUNTED, KNOWN, Coverage
from fae.hotset.curve import choose_points, draw_curve, find_knee
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.loads import Loads
from fae.hotset.problem import Objective, Ranking, StackedRows
from fae.hotset.rules.accesses import rank_by_accesses
from fae.hotset.selection import select_rows
from tests.support.stacked_tables import problem, stacked, stacks

ROWS = stacked([[1, 9, 5, 1], [0, 7, 2]], [4, 4])
HOT_SAMPLES = Objective()


def covered(samples: list[int]) -> Coverage:
    """Return the coverage at every number of hot rows; the last samples are never hot."""
    return Coverage(np.arange(len(samples) - 1), np.array(samples))


NO_SAMPLES = covered([0] * 9)


def draw(
    rows: StackedRows,
    coverage: dict[str, Coverage],
    budget: int,
    *,
    objective: Objective = HOT_SAMPLES,
    loads: Loads | None = None,
    device: DeviceProfile | None = None,
) -> pl.DataFrame:
    """Return the curve of the rule `accesses`; groups without coverage are empty."""
    ranking = Ranking(rank_by_accesses(problem(rows)).ranked_rows, loads)
    names = ("train", "valid", "test", COUNTED, *KNOWN.values())
    groups = dict.fromkeys(names, NO_SAMPLES) | coverage
    points = choose_points(rows, ranking.ranked_rows, budget)
    return draw_curve(rows, ranking, points, groups, objective, device)


def test_the_curve_includes_the_budget_and_all_bytes() -> None:
    curve = draw(ROWS, {"train": covered([0, 0, 0, 5, 0, 0, 4, 1, 0])}, 13)
    assert curve.columns == ["budget_bytes", "hot_rows", "access_share", "train_hot_share"]
    budgets = curve["budget_bytes"].to_list()
    assert budgets == sorted(set(budgets))
    assert {13, 28} <= set(budgets)
    assert curve.filter(budget_bytes=13).rows() == [(13, 3, 10 / 25, 0.5)]
    assert curve.rows()[-1] == (28, 7, 1.0, 1.0)


def test_a_budget_above_all_bytes_is_a_point_too() -> None:
    coverage = {"train": covered([0] * 7 + [1, 0])}
    assert draw(ROWS, coverage, 1000).rows()[-1] == (1000, 7, 1.0, 1.0)


def test_samples_that_can_never_be_hot_keep_the_share_below_1() -> None:
    curve = draw(ROWS, {"valid": covered([0] * 7 + [3, 1])}, 28)
    assert curve["valid_hot_share"].to_list()[-1] == pytest.approx(0.75)


def test_held_out_samples_are_those_of_valid_and_test_and_the_known_ones_among_them() -> None:
    held_out = {
        "valid": covered([2, 0, 0, 1, 0, 0, 0, 0, 1]),
        "test": covered([0, 0, 0, 0, 0, 4, 0, 0, 0]),
        KNOWN["test"]: covered([0, 0, 0, 0, 0, 3, 0, 0, 0]),
    }
    curve = draw(ROWS, held_out, 12)
    assert curve.columns[3:] == [
        "valid_hot_share",
        "test_hot_share",
        "held_out_hot_share",
        "known_hot_share",
    ]
    by_budget = {row[0]: row[3:] for row in curve.rows()}
    assert by_budget[12] == (3 / 4, 0.0, 3 / 8, 0.0)
    assert by_budget[28] == (3 / 4, 1.0, 7 / 8, 1.0)


def test_the_bound_is_a_share_of_counted_samples_and_at_most_1() -> None:
    loads = Loads(0.0, 8, np.array([3.0, 1.0, 2.0]), np.array([4, 4, 4]))
    counted = {COUNTED: covered([0, 0, 0, 0, 6, 0, 0, 0, 0])}
    curve = draw(ROWS, counted, 16, loads=loads)
    bounds = dict(zip(curve["budget_bytes"], curve["bound"], strict=True))
    # Two rows beyond the two of id 0: loads 3 and 2 of 6.
    assert bounds[16] == pytest.approx(5 / 6, rel=1e-3)
    assert bounds[28] == 1.0
    by_accesses = draw(ROWS, counted, 16, loads=loads, objective=Objective(0, 1))
    assert "bound" not in by_accesses.columns


def test_the_speedup_is_over_having_no_hot_rows() -> None:
    device = DeviceProfile(
        device="a test",
        batch_size=1,
        seconds_per_hot_input=1.0,
        seconds_per_cold_input=3.0,
        seconds_per_cold_access=2.0,
    )
    counted = {COUNTED: covered([0, 0, 0, 5, 0, 0, 5, 0, 0])}
    curve = draw(ROWS, counted, 13, device=device)
    speedups = dict(zip(curve["budget_bytes"], curve["speedup"], strict=True))
    nothing = 10 * 3.0 + 25 * 2.0
    # 13 bytes buy 3 rows: 5 samples and 10 of 25 accesses are hot.
    assert speedups[13] == pytest.approx(nothing / (5 * 1.0 + 5 * 3.0 + 15 * 2.0))
    assert speedups[28] == pytest.approx(nothing / (10 * 1.0))


def test_the_knee_is_the_point_highest_above_the_straight_line() -> None:
    curve = pl.DataFrame(
        {"budget_bytes": [1, 10, 40, 70, 100], "train_hot_share": [0.0, 0.3, 0.9, 0.95, 1.0]}
    )
    assert find_knee(curve) == 40


@given(rows=stacks(), budget=st.integers(1, 300), data=st.data())
def test_every_point_is_what_that_budget_buys(
    rows: StackedRows, budget: int, data: st.DataObject
) -> None:
    ranked = rank_by_accesses(problem(rows)).ranked_rows
    counts = data.draw(
        st.lists(st.integers(0, 5), min_size=ranked.size + 2, max_size=ranked.size + 2)
    )
    curve = draw(rows, {"train": covered(counts)}, budget)
    total, accessed = sum(counts), int(rows.accesses.sum())
    for point in curve.iter_rows(named=True):
        if point["budget_bytes"] >= rows.row_bytes.sum():
            assert point["hot_rows"] == select_rows(rows, ranked, point["budget_bytes"]).hot_count
        bought = ranked.head(point["hot_rows"]).to_rows()
        assert point["access_share"] == rows.accesses[bought].sum() / max(accessed, 1)
        if total:
            assert point["train_hot_share"] == sum(counts[: point["hot_rows"] + 1]) / total
    for name in set(curve.columns) - {"budget_bytes"}:
        assert curve[name].is_sorted()
