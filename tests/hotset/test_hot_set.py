"""The interval that a hot set states for the samples outside its sample."""

from __future__ import annotations

import pytest

from fae.hotset.hot_set import compute_wilson_interval


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_the_wilson_interval_is_as_published(
    hits: int, total: int, low: float, high: float
) -> None:
    assert compute_wilson_interval(hits, total) == pytest.approx((low, high), abs=1e-4)
