"""Vocabularies: raw value → id, enough to encode a new row when the model serves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.schema import SparseColumn
from pipeline.sorting import ascending

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
    numbers = staged.fill_null(0).to_numpy().astype(">u8")
    width = pa.py_buffer(np.ascontiguousarray(numbers).view(np.uint8).tobytes())
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(staged), [None, width])
    binary = pl.Series(pl.from_arrow(fixed.cast(pa.binary()))).alias("value")
    digits = pl.DataFrame({"value": binary, "missing": staged.is_null()}).select(
        pl.when(~pl.col("missing")).then(pl.col("value").bin.encode("hex"))
    )
    text = digits.to_series().alias("value")
    if column.digits is not None:
        return text.str.slice(16 - column.digits)
    return text.str.replace("^0{1,15}", "")


def staged_values(raw: pl.Series, column: SparseColumn) -> pl.Series:
    """What `raw_values` was given; null for what are no hexadecimal digits."""
    if column.encoding != "hex":
        return raw
    return raw.str.to_integer(base=16, dtype=pl.UInt64(), strict=False)
