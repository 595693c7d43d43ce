"""Vocabularies: raw value → id, enough to encode a new row when the model serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.schema import SparseColumn
from pipeline.sorting import ascending

_MOST_DIGITS = 16
#: The two digits of each byte, in one number.
_TWO_DIGITS = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
#: Lines that are made at a time.
LINES = 1 << 20


def vocabulary(
    accesses: pl.DataFrame, ids: npt.NDArray[np.uint32], column: SparseColumn
) -> Iterator[pl.DataFrame]:
    """`value`, `id` and `accesses` of a table's values from id 1, by id and then by access rank.

    `accesses` has `value` (as staged) and `accesses` by access rank from 1; `ids` gives the id of
    each rank from 0. A null value is the missing category. Id 0, out of vocabulary, has no line;
    a hashed id has one for each of its values. The frames, at least one, have LINES lines each.
    """
    given = ids[1:]
    order = ascending(given)
    for first in range(0, max(order.size, 1), LINES):
        ranks = order[first : first + LINES]
        yield pl.DataFrame(
            {
                "value": raw_values(accesses["value"].gather(ranks), column),
                "id": given[ranks].astype(np.int64),
                "accesses": accesses["accesses"].gather(ranks),
            }
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
