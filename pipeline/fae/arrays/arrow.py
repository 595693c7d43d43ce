"""Pass arrays between NumPy and Arrow, in the same memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


def to_arrow(values: npt.NDArray[Any], valid: BoolArray | None = None) -> pa.Array:
    """Return a one-dimensional array as an Arrow array, null where it is not `valid`.

    `pa.array` imports pandas to ask whether the array is one of its own, which takes longer than
    most work on the array, and fails at times if several threads do it at once.
    """
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    content = pa.py_buffer(np.ascontiguousarray(values))
    dtype = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(dtype, values.size, [validity, content])


def to_numpy(array: pa.Array) -> npt.NDArray[Any]:
    """Return an Arrow array of numbers without nulls as a read-only NumPy array."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to a file of Arrow's IPC format, a record batch for each chunk."""
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def shrink_dtype(values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Cast non-negative integers to the smallest dtype that holds them."""
    return values.astype(np.min_scalar_type(values.max(initial=0)))


def wrap_in_list(items: pa.Array) -> pa.Array:
    """Return a list array of one row, which holds all items."""
    return pa.LargeListArray.from_arrays(to_arrow(np.array([0, len(items)])), items)
