"""The soak: the growth that it reports."""

from __future__ import annotations

import random

import pytest

from faults.growth import MIB, Series, fit_slope
from faults.soak import GROWTH_LIMITS


def samples(cycles: int, leak: float, files: int = 0) -> Series:
    """Return memory that warms up by 100 MiB, varies by 8 MiB and leaks, and files left open."""
    rng = random.Random(7)
    warm = [300 + 100 * min(n / cycles * 4, 1) for n in range(cycles)]
    memory = [int(MIB * (one + rng.uniform(0, 8) + leak * n)) for n, one in enumerate(warm)]
    return Series(memory, [20 + rng.randrange(3) + files * n // 10 for n in range(cycles)])


@pytest.mark.parametrize("cycles", [100, 400])
def test_growth_is_distinguished_from_warm_up(cycles: int) -> None:
    assert samples(cycles, leak=0).describe_growth(*GROWTH_LIMITS) == ""
    assert "memory grows by 0.4" in samples(cycles, leak=0.45).describe_growth(*GROWTH_LIMITS)
    assert "open files grow by 0.1" in samples(cycles, leak=0, files=1).describe_growth(
        *GROWTH_LIMITS
    )


def test_the_slope_is_the_least_squares_one() -> None:
    assert fit_slope([5, 6]) == (0, 0)
    assert fit_slope([1, 3, 5, 7]) == pytest.approx((2, 0))
    # Residuals of 0.6, twice, and of 0.4, three times: a variance of 0.4, over a spread of 10.
    assert fit_slope([0, 1, 0, 1, 0]) == pytest.approx((0, 0.2))


def test_memory_that_goes_up_and_down_does_not_grow() -> None:
    steps = [737, 802, 823, 797, 801, 826, 790, 812] * 4
    series = Series([step * MIB for step in steps], [6] * len(steps))
    assert series.describe_growth(0, 0.02) == ""
