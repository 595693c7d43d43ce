"""Plan a batch's access to rows: its distinct rows, and which of them each id means."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fae_trainer.data.batches import Batch, Ints
from fae_trainer.embedding.layout import Layout


@dataclass(frozen=True)
class Plan:
    """What is known of a batch before its step; `cold` are distinct positions of cold rows."""

    cold: Ints


@dataclass(frozen=True)
class Slots(Plan):
    """The slot of every id of a batch; the device finds the distinct hot rows itself.

    In `slots`, (ids,), a cold row is the number of hot rows plus its number among `cold`.
    """

    slots: npt.NDArray[Any]


@dataclass(frozen=True)
class Lookup(Plan):
    """The distinct rows of a batch, and which of them each id means.

    `hot` and `cold` are distinct positions in the two arrays. `inverse`, (ids,), numbers the
    distinct rows, hot ones first; `offsets` are the batch's. `shared` says that the processes
    exchange cold rows for the batch (`distributed.py`), even if this process's part has none.
    """

    hot: Ints
    inverse: Ints
    offsets: Ints | None
    shared: bool = False


class Planner:
    """Plans batches; it holds four bytes of scratch memory for each row. Threads may share it."""

    def __init__(self, layout: Layout) -> None:
        """Make a planner for rows that lie as `layout` says."""
        table = layout.feature_table
        self._hot_total = layout.hot_total
        self._slot_type = layout.slot_type
        # All three are (features,): ids below the first are hot; hot and cold ids become slots by
        # adding the second and the third. Comparing narrow integers is twice as fast.
        self._hot_below = layout.hot_rows[table].astype(layout.slot_type)
        self._hot_shift = layout.hot_start[table]
        self._cold_shift = layout.hot_total + (layout.cold_start - layout.hot_rows)[table]
        self._stamps = np.zeros(layout.hot_total + layout.cold_total, dtype=np.int32)
        self._lock = threading.Lock()

    def has_cold_rows(self, batch: Batch) -> bool:
        """Tell whether any id of a batch is a cold row."""
        return bool((self._compute_slots(batch) >= self._hot_total).any())

    def plan_slots(self, batch: Batch) -> Slots:
        """Return the slots of a batch of one id a feature; only cold ids cost more than a sum."""
        ids = np.asarray(batch.ids.cpu()).reshape(len(batch), -1)  # (batch, features)
        # Treat every id as hot, then correct those that are cold.
        slots = np.add(ids, self._hot_shift, dtype=self._slot_type, casting="unsafe").ravel()
        positions = np.flatnonzero(ids >= self._hot_below)
        cold = ids.ravel()[positions] + self._cold_shift[positions % ids.shape[1]]
        stamps, first = self._find_representatives(cold)
        # Number the distinct cold rows from the number of hot rows on, in the order of the batch.
        slots[positions] = (self._hot_total - 1 + np.cumsum(first))[stamps]
        return Slots(cold[first] - self._hot_total, slots)

    def plan_lookup(self, batch: Batch) -> Lookup:
        """Return the lookup of a batch; its distinct rows are in a fixed but unsorted order."""
        slots = self._compute_slots(batch)
        stamps, first = self._find_representatives(slots)
        is_hot = slots < self._hot_total
        numbers = _number(first & is_hot, first & ~is_hot)
        hot, cold = slots[first & is_hot], slots[first & ~is_hot] - self._hot_total
        offsets = None if batch.offsets is None else np.asarray(batch.offsets.cpu(), dtype=np.int64)
        return Lookup(cold, hot, numbers[stamps], offsets)

    def _compute_slots(self, batch: Batch) -> Ints:
        """Return the slot of every id of a batch."""
        ids = np.asarray(batch.ids.cpu())
        if batch.offsets is None:
            ids = ids.reshape(len(batch), -1)  # (batch, features)
            below, hot, cold = self._hot_below, self._hot_shift, self._cold_shift
        else:
            feature = np.tile(np.arange(batch.features), len(batch))
            feature = np.repeat(feature, np.diff(np.asarray(batch.offsets.cpu())))  # (ids,)
            below, hot = self._hot_below[feature], self._hot_shift[feature]
            cold = self._cold_shift[feature]
        return (ids + np.where(ids < below, hot, cold)).ravel()

    def _find_representatives(
        self, slots: Ints
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Return the position that represents each slot's row, and which positions those are.

        This takes one pass and no sort: each position writes itself to its row's stamp, and the
        one that is still there afterwards represents the row.
        """
        positions = np.arange(slots.size, dtype=np.int32)
        with self._lock:
            self._stamps[slots] = positions
            stamps = self._stamps[slots]
        return stamps, stamps == positions


def _number(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Ints:
    """Return numbers for the positions in `first`, then in `second`; others are undefined."""
    firsts, seconds = np.cumsum(first), np.cumsum(second)
    total = firsts[-1] if firsts.size else 0
    return np.where(first, firsts, total + seconds) - 1
