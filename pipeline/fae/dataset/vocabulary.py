"""Vocabularies: the id of each raw value, which is what encoding new rows needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import BoolArray
from fae.arrays.stable_argsort import stable_argsort
from fae.logs.columns import SparseColumn

_MAX_HEX_DIGITS = 16
#: The two hexadecimal digits of each byte, as one 16-bit number.
_BYTE_DIGITS = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
LINES_PER_FRAME = 1 << 20


def build_vocabulary(
    accesses: Iterator[pl.DataFrame], ids: npt.NDArray[np.uint32], column: SparseColumn
) -> Iterator[pl.DataFrame]:
    """Yield `value`, `id` and `accesses` of a table's values, by id and then by access rank.

    The frames of `accesses` have `value` (as staged) and `accesses` by access rank from 1; `ids`
    has the id of each rank from 0. A null value is the missing category. Id 0, out of vocabulary,
    has no line; a hashed id has a line for each of its values. If ids ascend with the ranks, there
    is a frame for each of `accesses`; otherwise all values are held in memory, and frames have
    LINES_PER_FRAME lines.
    """
    value_ids = ids[1:]
    if not _is_ascending(value_ids):
        order, all_accesses = stable_argsort(value_ids), pl.concat(accesses)
        value_ids = value_ids[order]
        starts = range(0, order.size, LINES_PER_FRAME)
        accesses = (all_accesses[order[start : start + LINES_PER_FRAME]] for start in starts)
    first = 0
    for frame in accesses:
        values = to_raw_values(frame["value"], column)
        frame_ids = value_ids[first : first + frame.height].astype(np.int64)
        yield pl.DataFrame({"value": values, "id": frame_ids, "accesses": frame["accesses"]})
        first += frame.height


def _is_ascending(ids: npt.NDArray[np.uint32]) -> bool:
    """Return whether no id is less than the one before, in the memory of one frame."""
    return all(
        bool((np.diff(ids[first : first + LINES_PER_FRAME + 1].astype(np.int64)) >= 0).all())
        for first in range(0, ids.size, LINES_PER_FRAME)
    )


def to_raw_values(staged: pl.Series, column: SparseColumn) -> pl.Series:
    """Return staged values as logs write them: hex as lower-case text, others unchanged.

    Hex without a fixed number of digits has no leading zeros.
    """
    if column.encoding != "hex" or column.is_long_hex:
        return staged
    is_present = staged.is_not_null().to_numpy()
    numbers = staged.fill_null(0).to_numpy()[is_present]
    text = _format_hex(numbers, is_present, column.digits or _MAX_HEX_DIGITS)
    return text if column.digits is not None else text.str.replace("^0{1,15}", "")


def _format_hex(numbers: npt.NDArray[Any], is_present: BoolArray, digits: int) -> pl.Series:
    """Return each number with this many hexadecimal digits, and null where none is present.

    The text of all numbers is one gather from a table of digit pairs, which is much faster than a
    format call per number.
    """
    octets = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - (digits + 1) // 2 :]
    text = _BYTE_DIGITS[octets].view(np.uint8)[:, digits % 2 :]
    offsets = np.concatenate([[0], np.cumsum(is_present, dtype=np.int64) * digits])
    validity = np.packbits(is_present, bitorder="little")
    buffers = map(pa.py_buffer, (offsets, np.ascontiguousarray(text), validity))
    return pl.Series("value", pa.LargeStringArray.from_buffers(is_present.size, *buffers))


def to_staged_values(raw: pl.Series, column: SparseColumn) -> pl.Series:
    """Return raw values as staged, the inverse of `to_raw_values`; null for malformed hex."""
    if column.encoding != "hex" or column.is_long_hex:
        return raw
    return raw.str.to_integer(base=16, dtype=pl.UInt64(), strict=False)
