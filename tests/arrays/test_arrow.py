"""Arrays: the same numbers for Arrow as for NumPy, missing or not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fae.arrays.arrow import to_arrow, to_numpy, wrap_in_list


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8", "i1", "i4", "i8", "f4", "f8"])
def test_numbers_are_the_same_on_both_sides(kind: str) -> None:
    numbers = np.arange(20).astype(kind)
    array = to_arrow(numbers)
    array.validate(full=True)
    assert array.equals(pa.array(numbers))
    assert np.shares_memory(numbers, to_numpy(array))
    assert to_numpy(array.slice(3, 5)).tolist() == numbers[3:8].tolist()
    assert to_numpy(array).dtype == numbers.dtype
    assert to_arrow(numbers[::2]).equals(pa.array(numbers[::2]))
    assert to_numpy(array[:0]).size == to_arrow(numbers[:0]).null_count == 0


def test_what_is_not_given_is_missing() -> None:
    given = np.arange(20) % 3 == 0
    array = to_arrow(np.arange(20), given)
    array.validate(full=True)
    assert array.to_pylist() == [n if n % 3 == 0 else None for n in range(20)]
    assert to_arrow(np.arange(3), np.ones(3, dtype=np.bool_)).null_count == 0


def test_a_list_holds_all_items() -> None:
    assert wrap_in_list(to_arrow(np.arange(3))).to_pylist() == [[0, 1, 2]]
    assert wrap_in_list(to_arrow(np.arange(0))).to_pylist() == [[]]
