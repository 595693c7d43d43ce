"""Encode a column as positions in a dictionary: its distinct values, ascending, null first."""

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
    """Return each value's position in the dictionary, shape (values,), and the dictionary.

    The positions have the smallest dtype that holds them.
    """
    unsorted = pc.dictionary_encode(values, null_encoding="encode")
    order = _argsort_distinct(unsorted.dictionary)
    position = np.empty(order.size, dtype=np.min_scalar_type(max(order.size - 1, 0)))
    position[order] = np.arange(order.size)
    return position[to_numpy(unsorted.indices)], unsorted.dictionary.take(to_arrow(order))


def _argsort_distinct(values: pa.Array) -> Positions:
    """Return the positions of distinct values in ascending order, that of null first."""
    if not pa.types.is_integer(values.type):
        return pl.Series(values).arg_sort(nulls_last=False).to_numpy()
    if not values.null_count:
        return stable_argsort(to_numpy(values))
    # Arrow finds nulls in a tenth of the time that a Polars query takes; a scalar loads pandas.
    null = to_numpy(pc.indices_nonzero(values.is_null()))
    valid = np.delete(np.arange(len(values), dtype=np.uint32), null)
    order = valid[stable_argsort(to_numpy(values.drop_null()))]
    return np.concatenate([null.astype(np.uint32), order])
