"""A budget is recommended from the curve, and by the device profile where there is one."""

from __future__ import annotations

import polars as pl
import pytest

from fae.reporting.recommendation import recommend_budget


@pytest.mark.parametrize(
    ("budgets", "shares", "speedups", "expected"),
    [
        # Above the straight line most at 30.
        ((10, 30, 60, 100), (0.2, 0.8, 0.9, 1.0), None, (30, "knee")),
        # The knee is at 4, but from 1 on twice the bytes never gain 2 %.
        ((1, 2, 4, 1000), (0.97, 0.98, 0.985, 1.0), None, (1, "saturation")),
        # A plateau ends in a rise: it is no saturation.
        ((1, 10, 50, 100), (0.5, 0.5, 0.5, 1.0), None, (1, "knee")),
        # Never above the line.
        ((10, 50, 100), (0.0, 0.1, 1.0), None, (100, "everything")),
        # 2.98 is within a hundredth of the gain from 1 to 3.
        ((10, 30, 60, 100), (0.2, 0.8, 0.9, 1.0), (1.5, 2.9, 2.98, 3.0), (60, "speedup")),
        # Without any gain, no bytes are worth their price.
        ((10, 100), (0.2, 1.0), (1.0, 1.0), (10, "speedup")),
    ],
)
def test_a_budget_and_its_reason(
    budgets: tuple[int, ...],
    shares: tuple[float, ...],
    speedups: tuple[float, ...] | None,
    expected: tuple[int, str],
) -> None:
    columns = {"budget_bytes": budgets, "train_hot_share": shares}
    curve = pl.DataFrame(columns | ({"speedup": speedups} if speedups else {}))
    recommended = recommend_budget(curve.reverse())
    assert (recommended.budget_bytes, recommended.reason) == expected
