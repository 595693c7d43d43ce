"""Cold ids that are hashed: a table's rare values share so many rows, whatever its vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from fae.arrays.row_keys import UInt64Array, mix_bits

Ids = npt.NDArray[np.integer[Any]]

#: The hash of the missing category.
_MISSING = 0


@dataclass(frozen=True)
class Sharing:
    """How the cold values of one table share its cold rows.

    `values` cold values have `rows` rows, of which `unused` have no value; `shared` of the values
    share theirs with another one. `access_share` of the table's train accesses go to such rows.
    """

    table: str
    values: int
    rows: int
    unused: int
    shared: int
    access_share: float


def value_hashes(staged: pl.Series) -> UInt64Array:
    """A 64-bit hash of each value as staged, shape (values,): a function of the value alone.

    Splitmix64 of an integer (hex values are numbers, negative ones are taken modulo 2^64), and
    XXH3 of a text's UTF-8 bytes. The missing category has the hash 0.
    """
    if staged.dtype == pl.String():
        texts = staged.cast(pl.Binary()).to_list()
        found = (_MISSING if text is None else xxhash.xxh3_64_intdigest(text) for text in texts)
        return np.fromiter(found, dtype=np.uint64, count=len(staged))
    keys = mix_bits(staged.fill_null(0).to_numpy().astype(np.uint64))
    keys[staged.is_null().to_numpy()] = _MISSING
    return keys


def is_hashed(rows: int, hot_rows: int, buckets: int) -> bool:
    """Whether a table with `rows` exact ids has more cold ones than `buckets`; 0 hashes none."""
    return 0 < buckets < rows - hot_rows


def hashed_ids(staged: pl.Series, hot_rows: int, buckets: int) -> Ids:
    """The ids of cold values as staged, shape (values,): `hot_rows` + hash modulo `buckets`."""
    return hot_rows + (value_hashes(staged) % np.uint64(buckets)).astype(np.int64)


def with_hashed(ids: Ids, staged: pl.Series, hot_rows: int, buckets: int) -> Ids:
    """`ids` (rows,) of a table by access rank, but for its cold ones, which become hashed.

    `staged` has the values from rank 1 on; rank 0 is out of vocabulary, and hot.
    """
    cold = np.flatnonzero(ids >= hot_rows)
    found = ids.copy()
    found[cold] = hashed_ids(staged.gather(cold - 1), hot_rows, buckets)
    return found


def sharing(table: str, ids: Ids, hot_rows: int, buckets: int, accesses: Ids) -> Sharing:
    """What the hashed `ids` (rows,) of a table share, given the train `accesses` of each rank."""
    cold = ids >= hot_rows
    bucket = ids[cold] - hot_rows
    values = np.bincount(bucket, minlength=buckets)
    shared = values[bucket] > 1
    return Sharing(
        table=table,
        values=bucket.size,
        rows=buckets,
        unused=int(np.count_nonzero(values == 0)),
        shared=int(np.count_nonzero(shared)),
        access_share=int(accesses[cold][shared].sum()) / max(int(accesses.sum()), 1),
    )
