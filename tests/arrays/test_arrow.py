"""Arrays hold the same values for Arrow as for NumPy, null or not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fae.arrays.arrow import to_arrow, to_numpy, wrap_in_list


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i4", "i8", "f4", "f8"])
def test_values_are_the_same_on_both_sides(dtype: str) -> None:
    values = np.arange(20).astype(dtype)
    array = to_arrow(values)
    array.validate(full=True)
    assert array.equals(pa.array(values))
    assert np.shares_memory(values, to_numpy(array))
    assert to_numpy(array.slice(3, 5)).tolist() == values[3:8].tolist()
    assert to_numpy(array).dtype == values.dtype
    assert to_arrow(values[::2]).equals(pa.array(values[::2]))
    assert to_numpy(array[:0]).size == to_arrow(values[:0]).null_count == 0


def test_values_that_are_not_valid_are_null() -> None:
    valid = np.arange(20) % 3 == 0
    array = to_arrow(np.arange(20), valid)
    array.validate(full=True)
    assert array.to_pylist() == [n if n % 3 == 0 else None for n in range(20)]
    assert to_arrow(np.arange(3), np.ones(3, dtype=np.bool_)).null_count == 0


def test_a_list_holds_all_items() -> None:
    assert wrap_in_list(to_arrow(np.arange(3))).to_pylist() == [[0, 1, 2]]
    assert wrap_in_list(to_arrow(np.arange(0))).to_pylist() == [[]]
