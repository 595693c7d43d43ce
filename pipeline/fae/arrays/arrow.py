"""Arrays: NumPy's numbers as Arrow's, in the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int64Array = npt.NDArray[np.int64]


def to_arrow(numbers: npt.NDArray[Any], given: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """One-dimensional numbers for Arrow, which are missing where they are not `given`.

    `pa.array` would ask pandas whether it knows them: it loads it for that, which takes longer than
    much of what is asked for here, and in a thread of several has been seen to fail.
    """
    validity = None if given is None else pa.py_buffer(np.packbits(given, bitorder="little"))
    content = pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(numbers.dtype), numbers.size, [validity, content]
    )


def shrink_dtype(numbers: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Numbers from 0 on in the fewest bytes."""
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def wrap_in_list(items: pa.Array) -> pa.Array:
    """A list column of one line, which holds all items."""
    return pa.LargeListArray.from_arrays(to_arrow(np.array([0, len(items)])), items)


def to_numpy(array: pa.Array) -> npt.NDArray[Any]:
    """Arrow's numbers, none of which is missing, for NumPy, which must not change them."""
    content = array.buffers()[1]
    kind = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype=kind)
    return np.frombuffer(content, kind, len(array), array.offset * kind.itemsize)
