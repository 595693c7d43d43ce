"""The stable argsort of integers is NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fae.arrays.stable_argsort import stable_argsort

DTYPES = st.sampled_from([np.uint8, np.uint32, np.uint64, np.int32, np.int64])


@given(values=DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, st.integers(0, 40))))
def test_any_integers_are_sorted_as_numpy_sorts_them(values: Any) -> None:
    assert stable_argsort(values).tolist() == np.argsort(values, kind="stable").tolist()


@pytest.mark.parametrize("bits", [0, 1, 11, 32, 33, 45, 64])
def test_integers_of_any_width_with_ties_in_their_leading_bits_are_sorted(bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 2**bits, 5000, dtype=np.uint64, endpoint=not bits)
    values[::7] = values[3]
    values[1::7] ^= np.uint64(1)
    before = values.copy()
    assert stable_argsort(values).tolist() == np.argsort(values, kind="stable").tolist()
    assert np.array_equal(values, before)
