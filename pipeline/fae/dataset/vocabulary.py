"""Vocabularies: raw value → id, enough to encode a new row when the model serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fae.arrays.stable_argsort import stable_argsort
from fae.logs.schema import SparseColumn

_MOST_DIGITS = 16
#: The two digits of each byte, in one number.
_TWO_DIGITS = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
#: Lines that are made at a time.
LINES = 1 << 20


def vocabulary(
    accesses: Iterator[pl.DataFrame], ids: npt.NDArray[np.uint32], column: SparseColumn
) -> Iterator[pl.DataFrame]:
    """`value`, `id` and `accesses` of a table's values from id 1, by id and then by access rank.

    The frames of `accesses` have `value` (as staged) and `accesses` by access rank from 1; `ids`
    gives the id of each rank from 0. A null value is the missing category. Id 0, out of vocabulary,
    has no line; a hashed id has one for each of its values. Where ids follow the ranks there is a
    frame for each of `accesses`; otherwise all values are held, and frames have LINES lines.
    """
    given = ids[1:]
    if not _ascend(given):
        order, every = stable_argsort(given), pl.concat(accesses)
        given = given[order]
        accesses = (every[order[first : first + LINES]] for first in range(0, order.size, LINES))
    first = 0
    for frame in accesses:
        yield pl.DataFrame(
            {
                "value": raw_values(frame["value"], column),
                "id": given[first : first + frame.height].astype(np.int64),
                "accesses": frame["accesses"],
            }
        )
        first += frame.height


def _ascend(ids: npt.NDArray[np.uint32]) -> bool:
    """Whether no id is less than the one before."""
    return all(
        bool((np.diff(ids[first : first + LINES + 1].astype(np.int64)) >= 0).all())
        for first in range(0, ids.size, LINES)
    )


def raw_values(staged: pl.Series, column: SparseColumn) -> pl.Series:
    """Staged values as logs write them: hexadecimal digits as lower-case text, others as they are.

    Hex without a fixed number of digits is written without leading zeros.
    """
    if column.encoding != "hex":
        return staged
    given = staged.is_not_null().to_numpy()
    numbers = staged.fill_null(0).to_numpy()[given]
    text = _hexadecimal(numbers, given, column.digits or _MOST_DIGITS)
    return text if column.digits is not None else text.str.replace("^0{1,15}", "")


def _hexadecimal(numbers: npt.NDArray[Any], given: npt.NDArray[np.bool_], digits: int) -> pl.Series:
    """Numbers as so many digits each, where they are given, and nothing elsewhere."""
    octets = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - (digits + 1) // 2 :]
    text = _TWO_DIGITS[octets].view(np.uint8)[:, digits % 2 :]
    offsets = np.concatenate([[0], np.cumsum(given, dtype=np.int64) * digits])
    array = pa.LargeStringArray.from_buffers(
        given.size,
        pa.py_buffer(offsets),
        pa.py_buffer(np.ascontiguousarray(text)),
        pa.py_buffer(np.packbits(given, bitorder="little")),
    )
    return pl.Series("value", array)


def staged_values(raw: pl.Series, column: SparseColumn) -> pl.Series:
    """What `raw_values` was given; null for what are no hexadecimal digits."""
    if column.encoding != "hex":
        return raw
    return raw.str.to_integer(base=16, dtype=pl.UInt64(), strict=False)
