"""Dictionaries: the distinct values of a column, ascending, the missing one first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from fae.arrays.arrow import to_arrow, to_numpy
from fae.arrays.stable_argsort import stable_argsort

Positions = npt.NDArray[np.integer[Any]]


def encode_dictionary(values: pa.Array) -> tuple[Positions, pa.Array]:
    """Each value's place in the dictionary, shape (values,), and the dictionary."""
    found = pc.dictionary_encode(values, null_encoding="encode")
    order = _order(found.dictionary)
    place = np.empty(order.size, dtype=np.min_scalar_type(max(order.size - 1, 0)))
    place[order] = np.arange(order.size)
    return place[to_numpy(found.indices)], found.dictionary.take(to_arrow(order))


def _order(values: pa.Array) -> Positions:
    """The place of the least of some distinct values, and so on."""
    if not pa.types.is_integer(values.type):
        return pl.Series(values).arg_sort(nulls_last=False).to_numpy()
    if not values.null_count:
        return stable_argsort(to_numpy(values))
    missing = np.flatnonzero(pl.Series(values).is_null().to_numpy())
    given = np.delete(np.arange(len(values), dtype=np.uint32), missing)
    order = given[stable_argsort(to_numpy(values.drop_null()))]
    return np.concatenate([missing.astype(np.uint32), order])
