"""Contest: what peeling decides once a core of rows is taken for hot.

A contestant is a row, or all the rows that one sample alone accesses: a hot set that has some but
not all of them wastes bytes, so they are hot or cold together. Most rows of a log are of that kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int32Array, Int64Array
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.hotset.problem import StackedRows, StackedSamples

#: The label of a row that is joined with the others of its sample, or that is left out.
_UNLABELLED = -1


@dataclass(frozen=True)
class Contestants:
    """Contestant i stands for the stacked rows `members[offsets[i]:offsets[i + 1]]`.

    They take `cost_bytes[i]` together.
    """

    members: npt.NDArray[np.int32]
    offsets: Int64Array
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

    Rows that one sample alone accesses are joined or, unless `may_join`, contestants each.
    """
    accesses = _count_accesses(samples.rows, rows.count)
    is_contestant = accesses > may_join
    for first, counted in rows.access_counts.chunks():
        seen = counted > 0
        is_contestant[first : first + counted.size] |= seen & (
            accesses[first : first + counted.size] == 0
        )
    is_contestant[rows.oov_rows] = False
    is_contestant[core.to_rows()] = False
    single = np.flatnonzero(is_contestant).astype(np.int32)
    labels = np.full(rows.count, _UNLABELLED, dtype=np.int32)
    labels[single] = np.arange(single.size, dtype=np.int32)
    joined = _join_rows(samples.rows, samples.offsets, labels, single.size)
    contestants, offsets, joined_rows, lengths = joined
    members = np.concatenate([single, joined_rows])
    lengths = np.concatenate([np.ones(single.size, dtype=np.int64), lengths])
    member_offsets = np.concatenate([[0], np.cumsum(lengths)])
    spent = np.concatenate([[0], np.cumsum(rows.list_costs(members))])
    cost_bytes = np.diff(spent[member_offsets])
    return StackedSamples(contestants, offsets), Contestants(members, member_offsets, cost_bytes)


def keep_whole_samples(
    samples: StackedSamples, charged: Int32Array, labels: Int32Array
) -> tuple[StackedSamples, Int32Array]:
    """Return the samples all of whose contestants have a label, and the ones they are charged to.

    Contestants are renamed to their `labels` (contestants,), of which -1 is none.
    """
    rows, offsets, kept_charged = _keep_whole_samples(
        samples.rows, samples.offsets, charged, labels
    )
    return StackedSamples(rows, offsets), kept_charged


@kernel
def _count_accesses(rows: Int32Array, count: int) -> Int32Array:
    """Return how often each of `count` rows occurs."""
    accesses = np.zeros(count, np.int32)
    for row in rows:
        accesses[row] += 1
    return accesses


@kernel
def _join_rows(
    rows: Int32Array, offsets: Int64Array, labels: Int32Array, first: int
) -> tuple[Int32Array, Int64Array, Int32Array, Int64Array]:
    """Return the samples by contestant, and the rows that each contestant from `first` on joins.

    The results are contestants, their offsets, the joined rows, and their number by contestant.
    """
    contestants = np.empty(rows.size, np.int32)
    new_offsets = np.zeros_like(offsets)
    joined = np.empty(rows.size, np.int32)
    lengths = np.empty(offsets.size - 1, np.int64)
    end = joined_end = count = 0
    for sample in range(offsets.size - 1):
        begin = joined_end
        for access in range(offsets[sample], offsets[sample + 1]):
            label = labels[rows[access]]
            if label == _UNLABELLED:
                joined[joined_end] = rows[access]
                joined_end += 1
            else:
                contestants[end] = label
                end += 1
        if joined_end > begin:
            lengths[count] = joined_end - begin
            contestants[end] = first + count
            end += 1
            count += 1
        new_offsets[sample + 1] = end
    return contestants[:end].copy(), new_offsets, joined[:joined_end].copy(), lengths[:count].copy()


@kernel
def _keep_whole_samples(
    rows: Int32Array, offsets: Int64Array, charged: Int32Array, labels: Int32Array
) -> tuple[Int32Array, Int64Array, Int32Array]:
    """Return the rows, offsets and charged rows of `keep_whole_samples`."""
    kept = np.empty(rows.size, np.int32)
    kept_charged = np.empty_like(charged)
    kept_offsets = np.zeros_like(offsets)
    end = count = 0
    for sample in range(offsets.size - 1):
        begin = end
        for access in range(offsets[sample], offsets[sample + 1]):
            label = labels[rows[access]]
            if label == _UNLABELLED:
                end = begin
                break
            kept[end] = label
            end += 1
        if end > begin:
            kept_charged[count] = labels[charged[sample]]
            count += 1
            kept_offsets[count] = end
    return kept[:end].copy(), kept_offsets[: count + 1].copy(), kept_charged[:count].copy()
