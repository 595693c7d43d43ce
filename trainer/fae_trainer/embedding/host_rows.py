"""Look up and update embedding rows on the host.

A batch's distinct rows are read once, pooled for each sample, and updated once by the sum of their
gradient over all occurrences, in the order of the batch. All of it is plain torch and numpy: it
trains on CPUs and for the placements whose rows the host handles, and it is the reference for the
device's kernels.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fae_trainer.data.bags import select_features
from fae_trainer.data.batches import Batch, Ints
from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import RowStep
from fae_trainer.embedding.tables import DistinctRows, Gathered, Tables

POOLINGS = ("sum", "mean")


@dataclass(frozen=True)
class Lookup:
    """A batch's distinct rows, and which of them each id means.

    `inverse`, (ids,), numbers the distinct rows. `offsets` are the batch's, (bags + 1,), or None
    where every bag has one id.
    """

    distinct: DistinctRows
    inverse: Ints
    offsets: Ints | None


class HostRows:
    """Looks up and updates the rows of tables on the host. Threads may share it.

    It holds four bytes of scratch memory for each row.
    """

    def __init__(self, tables: Tables, pooling: str = "sum") -> None:
        """Make it for `tables`; a bag's vector is the sum or the mean of its rows."""
        self._tables = tables
        self._mean = pooling == "mean"
        self._slots = SlotFinder(tables.layout)
        columns = tables.layout.columns
        self._columns = None if columns is None else torch.from_numpy(columns)
        self._stamps = np.zeros(tables.layout.row_total, dtype=np.int32)
        self._lock = threading.Lock()

    def plan(self, batch: Batch, shared: bool = False) -> Lookup:
        """Return the lookup of a batch; it depends on no value, so it can be made ahead.

        The batch has all features of the data set, of which the layout may choose some. `shared`
        says that processes exchange cold rows for the batch. Distinct rows are in a fixed but
        unsorted order.
        """
        if self._columns is not None:
            batch = select_features(batch, self._columns)
        offsets = None if batch.offsets is None else np.asarray(batch.offsets, dtype=np.int64)
        return self._plan_slots(self._slots.find(batch), offsets, shared)

    @torch.no_grad()
    def look_up(self, lookup: Lookup) -> tuple[Tensor, Gathered]:
        """Return the bags' vectors, (bags, dim), and what updating their rows needs."""
        gathered = self._tables.gather(lookup.distinct)
        vectors = gathered.rows.index_select(0, torch.from_numpy(lookup.inverse))  # (ids, dim)
        if lookup.offsets is None:
            return vectors, gathered
        lengths, bag = _find_bags(lookup.offsets)
        pooled = vectors.new_zeros((len(lengths), vectors.shape[1])).index_add(0, bag, vectors)
        if self._mean:
            pooled /= lengths.clamp(min=1).unsqueeze(1).to(pooled.dtype)
        return pooled, gathered

    @torch.no_grad()
    def update(self, lookup: Lookup, gathered: Gathered, gradient: Tensor, step: RowStep) -> None:
        """Update the rows by the gradient of the bags' vectors, (bags, dim) on the host."""
        summed = _sum_by_row(lookup, self._spread(lookup, gradient))
        self._tables.update(gathered, summed, step)

    def merge(self, parts: Sequence[tuple[Lookup, Tensor]]) -> tuple[Lookup, Tensor]:
        """Return several lookups and gradients of their bags' vectors as one."""
        slots = torch.cat([self.slots_of(lookup) for lookup, _ in parts])
        gradients = [self._spread(lookup, gradient) for lookup, gradient in parts]
        return self.plan_slots(slots), torch.cat(gradients)

    def sum_rows(self, parts: Sequence[tuple[Lookup, Tensor]]) -> tuple[Lookup, Tensor]:
        """Return distinct rows and their summed gradient, as `merge` returns all occurrences."""
        lookup, gradient = self.merge(parts)
        summed = _sum_by_row(lookup, gradient)
        return Lookup(lookup.distinct, np.arange(len(summed)), None), summed

    def slots_of(self, lookup: Lookup) -> Tensor:
        """Return the slot of each id of a lookup, (ids,)."""
        hot, cold = lookup.distinct.hot, lookup.distinct.cold + self._tables.layout.hot_total
        return torch.from_numpy(np.concatenate([hot, cold])[lookup.inverse])

    def plan_slots(self, slots: Tensor) -> Lookup:
        """Return the lookup of rows by their slots, (ids,) on the host."""
        return self._plan_slots(slots.numpy(), None)

    def _spread(self, lookup: Lookup, gradient: Tensor) -> Tensor:
        """Return the gradient of each id's row, (ids, dim), from that of the bags' vectors."""
        if lookup.offsets is None:
            return gradient
        lengths, bag = _find_bags(lookup.offsets)
        if self._mean:
            gradient = gradient / lengths.clamp(min=1).unsqueeze(1).to(gradient.dtype)
        return gradient.index_select(0, bag)

    def _plan_slots(self, slots: Ints, offsets: Ints | None, shared: bool = False) -> Lookup:
        stamps, first = self._find_representatives(slots)
        is_hot = slots < self._tables.layout.hot_total
        numbers = _number(first & is_hot, first & ~is_hot)
        hot, cold = slots[first & is_hot], slots[first & ~is_hot] - self._tables.layout.hot_total
        return Lookup(DistinctRows(hot, cold, shared), numbers[stamps], offsets)

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


class SlotFinder:
    """Computes the slot of each id of a batch, by adding one of two shifts of its feature."""

    def __init__(self, layout: Layout) -> None:
        """Make it for rows that lie as `layout` says."""
        # All three are (features,). Comparing narrow integers is twice as fast.
        hot_rows, self._hot_shift, self._cold_shift = layout.shifts()
        self._hot_rows = hot_rows.astype(layout.slot_type)

    def find(self, batch: Batch) -> Ints:
        """Return the slot of every id of a batch, (ids,)."""
        ids = np.asarray(batch.ids)
        if batch.offsets is None:
            ids = ids.reshape(len(batch), -1)  # (batch, features)
            below, hot, cold = self._hot_rows, self._hot_shift, self._cold_shift
        else:
            feature = np.tile(np.arange(batch.features), len(batch))
            feature = np.repeat(feature, np.diff(np.asarray(batch.offsets)))  # (ids,)
            below, hot = self._hot_rows[feature], self._hot_shift[feature]
            cold = self._cold_shift[feature]
            ids = ids[: len(feature)]  # those of a selection have others behind them
        slots: Ints = (ids + np.where(ids < below, hot, cold)).ravel()
        return slots


def _sum_by_row(lookup: Lookup, gradient: Tensor) -> Tensor:
    """Return the sum of the ids' gradients, (ids, dim), for each distinct row, in their order."""
    rows = len(lookup.distinct.hot) + len(lookup.distinct.cold)
    summed = gradient.new_zeros((rows, gradient.shape[1]))
    return summed.index_add_(0, torch.from_numpy(lookup.inverse), gradient)


def _find_bags(offsets: Ints) -> tuple[Tensor, Tensor]:
    """Return the length of each bag, and the bag of each id."""
    lengths = torch.from_numpy(offsets).diff()
    return lengths, torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def _number(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Ints:
    """Return numbers for the positions in `first`, then in `second`; others are undefined."""
    firsts, seconds = np.cumsum(first), np.cumsum(second)
    total = firsts[-1] if firsts.size else 0
    return np.where(first, firsts, total + seconds) - 1
