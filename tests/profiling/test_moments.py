"""Sums of float32 are exact, whatever is added up and in whatever order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fae.format.manifest import LearntMoments
from fae.profiling.moments import add_up, standardize

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, max_size=20))
def test_sums_are_those_of_fractions(numbers: list[float]) -> None:
    size, total, squares = add_up(np.array(numbers, dtype=np.float32))
    exact = [Fraction(number) for number in numbers]
    assert (size, Fraction(total, 2**172), Fraction(squares, 2**344)) == (
        len(numbers),
        sum(exact),
        sum(number**2 for number in exact),
    )


def test_numbers_far_from_train_stay_in_the_range_of_float32() -> None:
    values = np.array([3e38, -3e38, 1], dtype=np.float32)
    found = standardize(values, LearntMoments("a", 1.0, 1e-3))
    assert found.tolist() == [np.finfo(np.float32).max, np.finfo(np.float32).min, 0]
