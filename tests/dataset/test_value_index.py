"""The index of a vocabulary finds what a dictionary would find."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.dataset.value_index import ValueIndex

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
KINDS = [
    (pl.Int64(), NUMBERS),
    (pl.UInt64(), st.integers(0, 2**64 - 1) | st.integers(2**63 - 2, 2**63 + 2)),
    (pl.UInt32(), st.integers(0, 2**32 - 1)),
    (pl.String(), st.text(max_size=3) | st.text(min_size=12, max_size=20)),
]


@pytest.mark.parametrize(("dtype", "values"), KINDS, ids=lambda kind: str(kind)[:6])
@given(data=st.data())
def test_every_value_has_its_id_and_an_unknown_one_has_0(
    dtype: pl.DataType, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(values | st.none(), unique=True))
    others = data.draw(st.lists(values | st.none()))
    ids = {value: 3 * number + 1 for number, value in enumerate(drawn)}
    index = ValueIndex.build(
        pl.Series(drawn, dtype=dtype), pl.Series([*ids.values()]).cast(pl.Int64)
    )
    asked = [*others, *drawn, *others]
    expected = [ids.get(value, 0) for value in asked]
    assert index.find(pl.Series(asked, dtype=dtype)).tolist() == expected
    assert index.find(pl.Series(asked, dtype=dtype)[1:]).tolist() == expected[1:]
    assert index.missing_id == ids.get(None, 0)
    found = [index.missing_id if value is None else index.find_one(value) for value in asked]
    assert found == expected


def test_values_that_share_an_id_are_all_found() -> None:
    index = ValueIndex.build(pl.Series(["a", "b", "c"]), pl.Series([5, 5, 6]))
    assert index.find(pl.Series(["c", "b", "a"])).tolist() == [6, 5, 5]


@pytest.mark.parametrize("step", [1, 2**32, -1])
def test_a_hundred_thousand_regular_values_are_found(step: int) -> None:
    values = np.arange(100_000, dtype=np.int64) * step
    index = ValueIndex.build(pl.Series(values), pl.Series(np.arange(1, 100_001)))
    assert np.array_equal(index.find(pl.Series(values)), np.arange(1, 100_001))
    assert not index.find(pl.Series(values[1:] * 7 + (step == 1) * 10**6)).all()
