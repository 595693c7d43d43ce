"""Arrays: the same numbers for Arrow as for NumPy, missing or not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fae.arrays.arrow import arrow, numbers_of, one_list


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8", "i1", "i4", "i8", "f4", "f8"])
def test_numbers_are_the_same_on_both_sides(kind: str) -> None:
    numbers = np.arange(20).astype(kind)
    array = arrow(numbers)
    array.validate(full=True)
    assert array.equals(pa.array(numbers))
    assert np.shares_memory(numbers, numbers_of(array))
    assert numbers_of(array.slice(3, 5)).tolist() == numbers[3:8].tolist()
    assert numbers_of(array).dtype == numbers.dtype
    assert arrow(numbers[::2]).equals(pa.array(numbers[::2]))
    assert numbers_of(array[:0]).size == arrow(numbers[:0]).null_count == 0


def test_what_is_not_given_is_missing() -> None:
    given = np.arange(20) % 3 == 0
    array = arrow(np.arange(20), given)
    array.validate(full=True)
    assert array.to_pylist() == [n if n % 3 == 0 else None for n in range(20)]
    assert arrow(np.arange(3), np.ones(3, dtype=np.bool_)).null_count == 0


def test_a_list_holds_all_items() -> None:
    assert one_list(arrow(np.arange(3))).to_pylist() == [[0, 1, 2]]
    assert one_list(arrow(np.arange(0))).to_pylist() == [[]]
