"""Run lengths: rows in an order, and a number for each row, as runs of neighbouring rows.

Rows are numbered by access rank, so a budget mostly buys neighbours, and neighbours mostly have as
many accesses. Their runs take a thousandth of the memory of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int64Array
from fae.arrays.jit import kernel

_ROWS_PER_CHUNK = 1 << 20


@dataclass(frozen=True)
class RowRanges:
    """Rows in an order, as ranges: range i has `lengths[i]` rows, from row `begins[i]` up.

    A row's position is its place in the order, from 0; rows of the first range come first.
    """

    begins: Int64Array
    lengths: Int64Array

    @classmethod
    def from_rows(cls, rows: npt.NDArray[np.integer[Any]], starts: Int64Array) -> RowRanges:
        """Return the ranges of rows (positions,); each row in `starts` begins a range."""
        edge = np.diff(rows, prepend=rows[:1] - 2) != 1
        edge |= np.isin(rows, starts)
        positions = np.flatnonzero(edge)
        return cls(rows[positions].astype(np.int64), np.diff(positions, append=rows.size))

    @classmethod
    def concat(cls, *parts: RowRanges) -> RowRanges:
        """Return the rows of all parts, one part after the other."""
        begins, lengths = zip(*((part.begins, part.lengths) for part in parts), strict=True)
        return cls(np.concatenate(begins), np.concatenate(lengths))

    @property
    def size(self) -> int:
        """The number of rows."""
        return int(self.lengths.sum())

    @property
    def ends(self) -> Int64Array:
        """The position at which each range ends, exclusive."""
        return np.cumsum(self.lengths)

    def to_rows(self) -> npt.NDArray[np.int32]:
        """Return the rows one by one, shape (positions,); each must be below 2**31."""
        # A row less its position is the same all over a range.
        differences = self.begins - (self.ends - self.lengths)
        rows = np.repeat(differences.astype(np.int32), self.lengths)
        rows += np.arange(rows.size, dtype=np.int32)
        return rows

    def take(self, chosen: npt.NDArray[Any]) -> RowRanges:
        """Return the ranges at some indices, or those that a mask chooses."""
        return RowRanges(self.begins[chosen], self.lengths[chosen])

    def head(self, count: int) -> RowRanges:
        """Return the first `count` rows."""
        kept = np.minimum(self.lengths, count - (self.ends - self.lengths))
        return RowRanges(self.begins, kept).take(kept > 0)

    def split_at(self, positions: Int64Array) -> RowRanges:
        """Return the same rows; a range ends at each of the ascending positions."""
        ends = self.ends
        cuts = positions[(np.diff(positions, prepend=0) > 0) & (positions < self.size)]
        cut_range = np.searchsorted(ends, cuts)  # the range that each cut is in, or at the end of
        is_inside = ends[cut_range] > cuts
        cuts, cut_range = cuts[is_inside], cut_range[is_inside]
        begins = self.begins[cut_range] + self.lengths[cut_range] - (ends[cut_range] - cuts)
        new_ends = np.insert(ends, cut_range, cuts)
        return RowRanges(
            np.insert(self.begins, cut_range + 1, begins), np.diff(new_ends, prepend=0)
        )

    def fill(self, cuts: Int64Array, numbers: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Set each row's item of `out` to `numbers[k]`, where its position is behind k cuts.

        `cuts` ascend; a position is behind the cuts that are at or before it.
        """
        _fill(self.begins, self.lengths, cuts, numbers, out)

    def complement(self, rows: int) -> RowRanges:
        """Return the rows in [0, rows) that are in no range, ascending."""
        ascending = self.take(np.argsort(self.begins))
        begins = np.concatenate([[0], ascending.begins + ascending.lengths])
        lengths = np.append(ascending.begins, rows) - begins
        return RowRanges(begins, lengths).take(lengths > 0)


@dataclass(frozen=True)
class RunLengthArray:
    """An integer for each of `rows` rows: `values[i]` from row `begins[i]` up to the next begin."""

    begins: Int64Array
    values: Int64Array
    rows: int

    @classmethod
    def from_numpy(cls, values: npt.NDArray[Any], starts: Int64Array) -> RunLengthArray:
        """Encode an integer for each row, shape (rows,); each row in `starts` begins a run."""
        edge = np.ones(values.size, dtype=np.bool_)
        np.not_equal(values[1:], values[:-1], out=edge[1:])
        edge[starts] = True
        begins = np.flatnonzero(edge)
        return cls(begins, values[begins].astype(np.int64), values.size)

    @property
    def ends(self) -> Int64Array:
        """The row at which each run ends, exclusive."""
        return np.append(self.begins[1:], self.rows)

    @property
    def ranges(self) -> RowRanges:
        """The rows of each run."""
        return RowRanges(self.begins, self.ends - self.begins)

    @property
    def total(self) -> int:
        """The sum over all rows."""
        return int((self.values * self.ranges.lengths).sum())

    def to_numpy(self) -> Int64Array:
        """Return the integer of each row, shape (rows,)."""
        return np.repeat(self.values, self.ranges.lengths)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Int64Array:
        """Return the integers of some rows."""
        return self.values[np.searchsorted(self.begins, rows, side="right") - 1]

    def chunks(self) -> Iterator[tuple[int, Int64Array]]:
        """Yield the integers of the rows in chunks, each with its first row."""
        ends = self.ends
        for first in range(0, self.rows, _ROWS_PER_CHUNK):
            stop = min(first + _ROWS_PER_CHUNK, self.rows)
            # The runs [begin, end) have rows in the chunk: the first and last may reach out of it.
            begin = np.searchsorted(ends, first, side="right")
            end = np.searchsorted(ends, stop, side="left") + 1
            lengths = np.minimum(ends[begin:end], stop) - np.maximum(self.begins[begin:end], first)
            yield first, np.repeat(self.values[begin:end], lengths)

    def sum_ranges(self, ranges: RowRanges) -> Int64Array:
        """Return the sum over the rows of each range."""
        return _sum_ranges(self.begins, self.ends, self.values, ranges.begins, ranges.lengths)


@kernel
def _sum_ranges(
    run_begins: Int64Array,
    run_ends: Int64Array,
    values: Int64Array,
    begins: Int64Array,
    lengths: Int64Array,
) -> Int64Array:
    """Return the sum over the rows of each range, of runs with these values."""
    sums = np.zeros(begins.size, np.int64)
    for i in range(begins.size):
        row, end = begins[i], begins[i] + lengths[i]
        run = np.searchsorted(run_begins, row, side="right") - 1
        while row < end:
            run_end = min(run_ends[run], end)
            sums[i] += values[run] * (run_end - row)
            row = run_end
            run += 1
    return sums


@kernel
def _fill(
    begins: Int64Array,
    lengths: Int64Array,
    cuts: Int64Array,
    numbers: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> None:
    """Fill as `RowRanges.fill`."""
    position = cut = 0
    for i in range(begins.size):
        for row in range(begins[i], begins[i] + lengths[i]):
            while cut < cuts.size and cuts[cut] <= position:
                cut += 1
            out[row] = numbers[cut]
            position += 1
