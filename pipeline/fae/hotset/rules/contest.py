"""Contest: what peeling decides once a core of rows is taken for hot.

A contestant is a row, or all the rows that one sample alone accesses: a hot set that has some but
not all of them wastes bytes, so they are hot or cold together. Most rows of a log are of that kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int32Array, Int64Array
from fae.arrays.buffers import shrink
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.hotset.problem import StackedRows, StackedSamples

#: The label of a row that is joined with the others of its sample, or that is left out.
_UNLABELLED = -1
#: What stands for two or more samples.
_SEVERAL = 2


@dataclass(frozen=True)
class Contestants:
    """Contestant i stands for the stacked rows `members[offsets[i]:offsets[i + 1]]`.

    They take `cost_bytes[i]` together.
    """

    members: npt.NDArray[np.int32]
    offsets: Int32Array
    cost_bytes: Int64Array

    @property
    def count(self) -> int:
        """The number of contestants."""
        return self.cost_bytes.size

    def list_members(self, order: Int32Array) -> npt.NDArray[np.int32]:
        """Return the stacked rows of contestants in an order."""
        lengths = np.diff(self.offsets)[order]
        skipped = self.offsets[order] - (np.cumsum(lengths) - lengths)
        return self.members[np.repeat(skipped, lengths) + np.arange(int(lengths.sum()))]

    def sum_members(self, numbers: RunLengthArray) -> Int64Array:
        """Return the sum of a number of each stacked row by contestant."""
        sums = np.concatenate([[0], np.cumsum(numbers.take(self.members))])
        return np.diff(sums[self.offsets])


def join_rows(
    rows: StackedRows, core: RowRanges, samples: StackedSamples, *, may_join: bool
) -> tuple[StackedSamples, Contestants]:
    """Return `samples`, which lack the rows of `core`, by contestant, and the contestants.

    Rows that one sample alone accesses are joined or, unless `may_join`, contestants each. The new
    samples take the memory of the old ones.
    """
    holders = _count_holders(samples.rows, rows.count)
    is_contestant = holders > may_join
    for first, counted in rows.access_counts.chunks():
        of_chunk = slice(first, first + counted.size)
        is_contestant[of_chunk] |= (counted > 0) & (holders[of_chunk] == 0)
    is_contestant[rows.oov_rows] = False
    is_contestant[core.to_rows()] = False
    single = np.flatnonzero(is_contestant).astype(np.int32)
    labels = np.full(rows.count, _UNLABELLED, dtype=np.int32)
    labels[single] = np.arange(single.size, dtype=np.int32)
    end, joined, lengths = _join_rows(samples.rows, samples.offsets, labels, single.size)
    samples = StackedSamples(shrink(samples.rows, end), samples.offsets)
    members = np.concatenate([single, joined])
    member_offsets = np.arange(single.size + lengths.size + 1, dtype=np.int32)
    member_offsets[single.size + 1 :] = single.size + np.cumsum(lengths)
    cost_bytes = _sum_costs(members, member_offsets, rows.table_offsets, rows.row_bytes)
    return samples, Contestants(members, member_offsets, cost_bytes)


def keep_whole_samples(samples: StackedSamples, labels: Int32Array) -> StackedSamples:
    """Return the samples all of whose contestants have a label.

    Contestants are renamed to their `labels` (contestants,), of which -1 is none. The samples take
    the memory of the old ones.
    """
    end, count = _keep_whole_samples(samples.rows, samples.offsets, labels)
    return StackedSamples(shrink(samples.rows, end), shrink(samples.offsets, count + 1))


@kernel
def _count_holders(rows: Int32Array, count: int) -> npt.NDArray[np.uint8]:
    """Return how many samples access each of `count` rows: 0, 1 or, for more, 2."""
    holders = np.zeros(count, np.uint8)
    for row in rows:
        if holders[row] < _SEVERAL:
            holders[row] += 1
    return holders


@kernel
def _join_rows(
    rows: Int32Array, offsets: Int64Array, labels: Int32Array, first: int
) -> tuple[int, Int32Array, Int32Array]:
    """Write the contestants of each sample over its rows; say which rows those from `first` join.

    Return the number of written contestants, the joined rows, and their number by contestant.
    """
    # Memory that is allocated and not written to is not used.
    joined = np.empty(rows.size, np.int32)
    lengths = np.empty(offsets.size - 1, np.int32)
    begin = end = joined_end = count = 0
    for sample in range(offsets.size - 1):
        joined_begin = joined_end
        for access in range(begin, offsets[sample + 1]):
            label = labels[rows[access]]
            if label == _UNLABELLED:
                joined[joined_end] = rows[access]
                joined_end += 1
            else:
                rows[end] = label
                end += 1
        if joined_end > joined_begin:
            lengths[count] = joined_end - joined_begin
            rows[end] = first + count
            end += 1
            count += 1
        begin = offsets[sample + 1]
        offsets[sample + 1] = end
    return end, joined[:joined_end], lengths[:count]


@kernel
def _sum_costs(
    members: Int32Array, offsets: Int32Array, table_offsets: Int64Array, row_bytes: Int64Array
) -> Int64Array:
    """Return the bytes of each contestant's rows."""
    cost_bytes = np.zeros(offsets.size - 1, np.int64)
    table = 0
    for contestant in range(offsets.size - 1):
        for member in range(offsets[contestant], offsets[contestant + 1]):
            row = members[member]
            while row < table_offsets[table]:
                table -= 1
            while row >= table_offsets[table + 1]:
                table += 1
            cost_bytes[contestant] += row_bytes[table]
    return cost_bytes


@kernel
def _keep_whole_samples(
    rows: Int32Array, offsets: Int64Array, labels: Int32Array
) -> tuple[int, int]:
    """Write the kept samples over the others; return their accesses and their number."""
    begin = end = count = 0
    for sample in range(offsets.size - 1):
        kept_begin, is_whole = end, True
        for access in range(begin, offsets[sample + 1]):
            label = labels[rows[access]]
            if label == _UNLABELLED:
                is_whole = False
                break
            rows[end] = label
            end += 1
        begin = offsets[sample + 1]
        if is_whole:
            count += 1
            offsets[count] = end
        else:
            end = kept_begin
    return end, count
