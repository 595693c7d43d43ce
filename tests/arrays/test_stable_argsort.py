"""Sorting: the places that NumPy's stable sort finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fae.arrays.stable_argsort import stable_argsort

KINDS = st.sampled_from([np.uint8, np.uint32, np.uint64, np.int32, np.int64])


@given(numbers=KINDS.flatmap(lambda kind: arrays.arrays(kind, st.integers(0, 40))))
def test_any_numbers(numbers: Any) -> None:
    assert stable_argsort(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()


@pytest.mark.parametrize("bits", [0, 1, 11, 22, 32, 33, 45, 64])
def test_numbers_of_any_width_with_equals_among_them(bits: int) -> None:
    rng = np.random.default_rng(bits)
    numbers = rng.integers(0, 2**bits, 5000, dtype=np.uint64, endpoint=not bits)
    numbers[::7] = numbers[3]
    numbers[1::7] ^= np.uint64(1)
    before = numbers.copy()
    assert stable_argsort(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()
    assert np.array_equal(numbers, before)
