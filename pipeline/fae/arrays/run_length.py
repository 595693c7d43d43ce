"""Runs: orders of rows, and numbers for each row, as runs of neighbours.

Rows are numbered by access rank, so a budget mostly buys neighbours, and neighbours mostly have as
many accesses. Their runs take a thousandth of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int64Array

#: So many rows are spread out at a time.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RowRanges:
    """Rows in an order: `lengths[i]` from row `begins[i]` up, then those of the next run."""

    begins: Int64Array
    lengths: Int64Array

    @classmethod
    def from_rows(cls, order: npt.NDArray[np.integer[Any]], starts: Int64Array) -> RowRanges:
        """The runs of an order (rows,); a run ends before a row of `starts`."""
        edge = np.diff(order, prepend=order[:1] - 2) != 1
        edge |= np.isin(order, starts)
        places = np.flatnonzero(edge)
        return cls(order[places].astype(np.int64), np.diff(places, append=order.size))

    @classmethod
    def concat(cls, *some: RowRanges) -> RowRanges:
        """The rows of some runs, one after the other."""
        begins, lengths = zip(*((one.begins, one.lengths) for one in some), strict=True)
        return cls(np.concatenate(begins), np.concatenate(lengths))

    @property
    def size(self) -> int:
        """The number of rows."""
        return int(self.lengths.sum())

    @property
    def ends(self) -> Int64Array:
        """The places in the order at which the runs end."""
        return np.cumsum(self.lengths)

    def to_rows(self) -> npt.NDArray[np.int32]:
        """The rows one by one, of which there must be fewer than 2^31."""
        moved = self.begins - (self.ends - self.lengths)
        order = np.repeat(moved.astype(np.int32), self.lengths)
        order += np.arange(order.size, dtype=np.int32)
        return order

    def take(self, chosen: npt.NDArray[Any]) -> RowRanges:
        """Some of the runs, by their places or a mask."""
        return RowRanges(self.begins[chosen], self.lengths[chosen])

    def head(self, count: int) -> RowRanges:
        """The first `count` rows."""
        kept = np.minimum(self.lengths, count - (self.ends - self.lengths))
        return RowRanges(self.begins, kept).take(kept > 0)

    def split_at(self, places: Int64Array) -> RowRanges:
        """The same order; a run ends at each of some places."""
        ends = self.ends
        every = np.union1d(ends, places[(places > 0) & (places < self.size)])
        lengths = np.diff(every, prepend=0)
        run = np.searchsorted(ends, every - lengths, side="right")
        return RowRanges(self.begins[run] + (every - lengths) - (ends - self.lengths)[run], lengths)

    def complement(self, rows: int) -> RowRanges:
        """Those of `rows` rows that are in no run, ascending."""
        ascending = self.take(np.argsort(self.begins, kind="stable"))
        begins = np.concatenate([[0], ascending.begins + ascending.lengths])
        lengths = np.append(ascending.begins, rows) - begins
        return RowRanges(begins, lengths).take(lengths > 0)


@dataclass(frozen=True)
class RunLengthArray:
    """A number for each of `rows` rows: `numbers[i]` from row `begins[i]` up to the next begin."""

    begins: Int64Array
    values: Int64Array
    rows: int

    @classmethod
    def from_numpy(cls, numbers: npt.NDArray[Any], starts: Int64Array) -> RunLengthArray:
        """The levels of a number for each row, shape (rows,); a row of `starts` begins one."""
        edge = np.ones(numbers.size, dtype=np.bool_)
        np.not_equal(numbers[1:], numbers[:-1], out=edge[1:])
        edge[starts] = True
        begins = np.flatnonzero(edge)
        return cls(begins, numbers[begins].astype(np.int64), numbers.size)

    @classmethod
    def from_ranges(cls, runs: RowRanges, numbers: Int64Array) -> RunLengthArray:
        """A number for each of some runs, which have all rows from 0 on between them."""
        ascending = np.argsort(runs.begins)
        return cls(runs.begins[ascending], numbers[ascending], runs.size)

    @property
    def ends(self) -> Int64Array:
        """The row before which each level ends."""
        return np.append(self.begins[1:], self.rows)

    @property
    def ranges(self) -> RowRanges:
        """The rows of each level."""
        return RowRanges(self.begins, self.ends - self.begins)

    @property
    def total(self) -> int:
        """The sum over all rows."""
        return int((self.values * self.ranges.lengths).sum())

    def to_numpy(self) -> Int64Array:
        """The number of each row, shape (rows,)."""
        return np.repeat(self.values, self.ranges.lengths)

    def chunks(self) -> Iterator[tuple[int, Int64Array]]:
        """The number of each row, and the first of them, some rows at a time."""
        ends = self.ends
        for first in range(0, self.rows, _CHUNK):
            stop = min(first + _CHUNK, self.rows)
            begin = np.searchsorted(ends, first, side="right")
            end = np.searchsorted(ends, stop, side="left") + 1
            here = np.minimum(ends[begin:end], stop) - np.maximum(self.begins[begin:end], first)
            yield first, np.repeat(self.values[begin:end], here)

    def sum_ranges(self, runs: RowRanges) -> Int64Array:
        """The sum over the rows of each run."""
        return self._before(runs.begins + runs.lengths) - self._before(runs.begins)

    def _before(self, rows: Int64Array) -> Int64Array:
        """The sum over all rows before each of some rows."""
        sums = np.cumsum(self.values * self.ranges.lengths)
        level = np.searchsorted(self.begins, rows, side="right") - 1
        after = self.ends[level] - rows
        return np.asarray(sums[level] - self.values[level] * after, dtype=np.int64)
