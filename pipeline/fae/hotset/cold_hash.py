"""Hashed cold ids: the cold values of a table share a fixed number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.arrays.value_hash import hash_values

Ids = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Sharing:
    """How the cold values of one table share its cold rows.

    There are `values` cold values for `rows` rows, of which `unused` have no value; `shared` of the
    values share their row with another value. `access_share` of the table's train accesses go to
    shared rows.
    """

    table: str
    values: int
    rows: int
    unused: int
    shared: int
    access_share: float


def is_hashed(rows: int, hot_rows: int, buckets: int) -> bool:
    """Return whether a table of `rows` exact ids has more cold ones than `buckets`.

    With 0 buckets, no table is hashed.
    """
    return 0 < buckets < rows - hot_rows


def hash_ids(staged: pl.Series, hot_rows: int, buckets: int) -> Ids:
    """Return the ids of staged cold values, shape (values,): `hot_rows` + hash modulo `buckets`."""
    return hot_rows + (hash_values(staged) % np.uint64(buckets)).astype(np.int64)


def replace_cold_ids(ids: Ids, staged: pl.Series, hot_rows: int, buckets: int) -> Ids:
    """Return `ids` (rows,) of a table by access rank, with its cold ids replaced by hashed ones.

    `staged` has the values from rank 1 on; rank 0 is out of vocabulary, and hot.
    """
    cold_ranks = np.flatnonzero(ids >= hot_rows)
    replaced = ids.copy()
    replaced[cold_ranks] = hash_ids(staged.gather(cold_ranks - 1), hot_rows, buckets)
    return replaced


def measure_sharing(table: str, ids: Ids, hot_rows: int, buckets: int, accesses: Ids) -> Sharing:
    """Return what the hashed `ids` (rows,) of a table share; `accesses` (rows,) are those in train.

    Both are by access rank.
    """
    is_cold = ids >= hot_rows
    bucket = ids[is_cold] - hot_rows
    values_per_bucket = np.bincount(bucket, minlength=buckets)
    unused = int(np.count_nonzero(values_per_bucket == 0))
    is_shared = values_per_bucket[bucket] > 1
    shared = int(np.count_nonzero(is_shared))
    access_share = int(accesses[is_cold][is_shared].sum()) / max(int(accesses.sum()), 1)
    return Sharing(table, bucket.size, buckets, unused, shared, access_share)
