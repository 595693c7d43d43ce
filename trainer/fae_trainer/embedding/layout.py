"""Where a row lives, and which rows a batch needs: ids to stacked positions by arithmetic.

Every table's hot rows are stacked into one array, and every table's cold rows into another, each
in the order of the tables and then of the ids. A row's slot is its position in the hot array, or
the number of hot rows plus its position in the cold one. Since hot ids come first in each table,
the slot of an id is the id plus one of two shifts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch, Ints


@dataclass(frozen=True)
class Layout:
    """The slots of every table's rows; half-open ranges [start, start + rows).

    `hot_start[t]` and `cold_start[t]` are where table t begins in the hot and in the cold array.
    `feature_table[f]` is the table of sparse feature f.
    """

    names: tuple[str, ...]
    rows: Ints  # (tables,)
    hot_rows: Ints  # (tables,)
    feature_table: Ints  # (features,)

    @property
    def hot_start(self) -> Ints:
        """(tables,) positions in the hot array."""
        return _starts(self.hot_rows)

    @property
    def cold_start(self) -> Ints:
        """(tables,) positions in the cold array."""
        return _starts(self.rows - self.hot_rows)

    @property
    def hot_total(self) -> int:
        """Rows of the hot array."""
        return int(self.hot_rows.sum())

    @property
    def cold_total(self) -> int:
        """Rows of the cold array."""
        return int(self.rows.sum()) - self.hot_total

    @property
    def slot_type(self) -> np.dtype[Any]:
        """The type that holds every slot."""
        return np.dtype(np.int32 if self.rows.sum() < 2**31 else np.int64)


def make_layout(manifest: Manifest, hot_rows: Sequence[int]) -> Layout:
    """The layout in which the first `hot_rows[t]` rows of table t are hot."""
    names = tuple(table.name for table in manifest.tables)
    index = {name: position for position, name in enumerate(names)}
    return Layout(
        names=names,
        rows=np.array([table.rows for table in manifest.tables], dtype=np.int64),
        hot_rows=np.array(hot_rows, dtype=np.int64),
        feature_table=np.array([index[f.table] for f in manifest.features.sparse], dtype=np.int64),
    )


@dataclass(frozen=True)
class Plan:
    """What is known of a batch before its step; `cold` are positions without repetition."""

    cold: Ints


@dataclass(frozen=True)
class Slots(Plan):
    """The slot of every id of a batch; the device finds the distinct hot rows by itself.

    In `slots` (n ids,) a cold row is the number of hot rows plus the row's number among `cold`.
    """

    slots: npt.NDArray[Any]


@dataclass(frozen=True)
class Lookup(Plan):
    """The distinct rows of a batch, and which of them each id means.

    `hot` and `cold` are positions in the two arrays, without repetition. `inverse` (n ids,) numbers
    the distinct rows, hot ones first; `offsets` are the batch's. `shared` says that ranks exchange
    cold rows for it (`ranks.py`), whether or not this rank's part has any.
    """

    hot: Ints
    inverse: Ints
    offsets: Ints | None
    shared: bool = False


class Planner:
    """Makes lookups; owns four bytes of scratch memory a row.

    Finding the distinct rows takes one pass and no sort: each id stamps its place in the batch on
    its row, and the id whose stamp remains stands for the row. It is safe to call from threads.
    """

    def __init__(self, layout: Layout) -> None:
        """A planner for rows laid out as `layout` says."""
        table = layout.feature_table
        self._hot_total = layout.hot_total
        self._slot_type = layout.slot_type
        self._hot_below = layout.hot_rows[table].astype(layout.slot_type)  # compares twice as fast
        self._hot_shift = layout.hot_start[table]
        self._cold_shift = layout.hot_total + (layout.cold_start - layout.hot_rows)[table]
        self._stamps = np.zeros(layout.hot_total + layout.cold_total, dtype=np.int32)
        self._lock = threading.Lock()

    def has_cold_rows(self, batch: Batch) -> bool:
        """Whether any id of a batch is a cold row."""
        return bool((self._slots(batch) >= self._hot_total).any())

    def slots(self, batch: Batch) -> Slots:
        """The slots of a batch of one id a feature; the work is with its cold ids alone."""
        ids = np.asarray(batch.ids).reshape(len(batch), -1)  # (batch, features)
        slots = np.add(ids, self._hot_shift, dtype=self._slot_type, casting="unsafe").ravel()
        places = np.flatnonzero(ids >= self._hot_below)
        cold = ids.ravel()[places] + self._cold_shift[places % ids.shape[1]]
        stamps, stands = self._stamp(cold)
        slots[places] = (self._hot_total - 1 + np.cumsum(stands))[stamps]
        return Slots(cold[stands] - self._hot_total, slots)

    def lookup(self, batch: Batch) -> Lookup:
        """The lookup of a batch; distinct rows come in no particular order, but a fixed one."""
        slots = self._slots(batch)
        stamps, stands = self._stamp(slots)
        is_hot = slots < self._hot_total
        numbers = _numbers(stands & is_hot, stands & ~is_hot)
        hot, cold = slots[stands & is_hot], slots[stands & ~is_hot] - self._hot_total
        offsets = None if batch.offsets is None else np.asarray(batch.offsets, dtype=np.int64)
        return Lookup(cold, hot, numbers[stamps], offsets)

    def _slots(self, batch: Batch) -> Ints:
        """The slot of every id of a batch."""
        ids = np.asarray(batch.ids)
        if batch.offsets is None:
            ids = ids.reshape(len(batch), -1)  # (batch, features)
            below, hot, cold = self._hot_below, self._hot_shift, self._cold_shift
        else:
            feature = np.tile(np.arange(batch.features), len(batch))
            feature = np.repeat(feature, np.diff(np.asarray(batch.offsets)))  # (n ids,)
            below, hot = self._hot_below[feature], self._hot_shift[feature]
            cold = self._cold_shift[feature]
        return (ids + np.where(ids < below, hot, cold)).ravel()

    def _stamp(self, slots: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """For each slot the place of the one that stands for its row, and which those are."""
        places = np.arange(slots.size, dtype=np.int32)
        with self._lock:
            self._stamps[slots] = places
            stamps = self._stamps[slots]
        return stamps, stamps == places


def _starts(sizes: Ints) -> Ints:
    """Where each of consecutive ranges of these sizes starts."""
    starts: Ints = np.cumsum(sizes) - sizes
    return starts


def _numbers(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Ints:
    """Counts from 0 over the places set in `first`, on over those in `second`; else anything."""
    one, two = np.cumsum(first), np.cumsum(second)
    total = one[-1] if one.size else 0
    return np.where(first, one, total + two) - 1
