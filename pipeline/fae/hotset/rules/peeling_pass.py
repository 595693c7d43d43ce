"""One pass of peeling: remove the row of least worth per byte, until enough rows are gone.

A pass takes time linear in the accesses, by a queue of buckets, and memory of about 9 bytes per
access and 40 per row. Rows are numbered from 0: stacked rows, or the contestants of `contest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.jit import kernel, kernel_helper
from fae.hotset.loads import Floats
from fae.hotset.problem import StackedSamples

#: One row's state, four to a cache line: a pass accesses rows in random order.
STATE = np.dtype([("load", "f4"), ("inverse_cost", "f4"), ("alive", "i4"), ("bucket", "i4")])
#: Buckets are 1/32 octave wide (the upper 14 bits of a float32) and reach past 2**63.
_BUCKET_SHIFT_BITS = 18
_ZERO_BUCKET = int(np.float32(1).view(np.int32)) >> _BUCKET_SHIFT_BITS
_BUCKETS = 64 * 32
_NO_ENTRY = _REMOVED = -1


@dataclass
class Peeler:
    """Repeated passes over the same samples.

    `loads` are the sums of so many `passes` before; `certain` is what a contestant is worth in any
    case, and `per_sample` what a sample is.
    """

    samples: StackedSamples
    cost_bytes: Int64Array
    inverse_cost: npt.NDArray[np.float32]
    certain: Floats
    per_sample: float
    loads: Floats
    passes: int = 0

    def __post_init__(self) -> None:
        count = self.cost_bytes.size
        offsets = self.samples.offsets
        self._starts, self._index = index_samples_by_row(self.samples.rows, offsets, count)
        self._state = np.zeros(count, dtype=STATE)
        self._state["inverse_cost"] = self.inverse_cost
        self._charged = np.zeros(self.samples.count, dtype=np.int32)
        self._full_order = np.arange(count, dtype=np.int32)

    def make_pass(self, stop_bytes: int) -> Int32Array:
        """Return the contestants, last removed first, and charge each sample.

        Those that remain at `stop_bytes` are in the order of the last pass that removed all.
        """
        self._state["load"] = self.loads + self.certain
        samples = self.samples
        removed = peel(
            samples.rows, samples.offsets, self._starts, self._index, self._state,
            self.per_sample, self.cost_bytes, stop_bytes, self._charged,
        )[::-1]  # fmt: skip
        # Samples that survive a partial pass stay charged as before, so that each pass charges all.
        charges = np.bincount(self._charged, minlength=self.cost_bytes.size)
        self.loads += self.certain + self.per_sample * charges
        self.passes += 1
        if removed.size == self.cost_bytes.size:
            self._full_order = removed
            return removed
        remains = np.ones(self.cost_bytes.size, dtype=np.bool_)
        remains[removed] = False
        return np.concatenate([self._full_order[remains[self._full_order]], removed])

    @property
    def mean_loads(self) -> Floats:
        """The mean loads of all passes."""
        mean: Floats = self.loads / self.passes
        return mean


@kernel
def index_samples_by_row(
    rows: Int32Array, offsets: Int64Array, count: int
) -> tuple[Int64Array, Int32Array]:
    """Return the samples that access each of `count` rows, as (starts (count + 1,), samples).

    Row r is accessed by `samples[starts[r]:starts[r + 1]]`.
    """
    # A counting sort: count the accesses of each row, sum to get starts, then place each sample.
    starts = np.zeros(count + 1, np.int64)
    for row in rows:
        starts[row + 1] += 1
    for row in range(count):
        starts[row + 1] += starts[row]
    position = starts[:-1].copy()
    samples = np.empty(rows.size, np.int32)
    for sample in range(offsets.size - 1):
        for access in range(offsets[sample], offsets[sample + 1]):
            row = rows[access]
            samples[position[row]] = sample
            position[row] += 1
    return starts, samples


@numba.njit(inline="always")
def _find_bucket(state: npt.NDArray[np.void], row: int, per_sample: float) -> Any:
    """Return the bucket of a row's worth per byte."""
    worth = (state[row].load + per_sample * state[row].alive) * state[row].inverse_cost
    # The upper bits of a positive float, read as an integer, are a logarithmic scale of it: the
    # exponent, and five bits of the mantissa. Adding 1 puts worth 0 into bucket 0.
    return (np.float32(worth + 1.0).view(np.int32) >> _BUCKET_SHIFT_BITS) - _ZERO_BUCKET


@kernel_helper
def _begin_pass(state: npt.NDArray[np.void], starts: Int64Array, per_sample: float) -> int:
    """Set each row's live samples and bucket; return how many bucket entries a pass may make.

    A row enters its first bucket, and then at most one lower bucket for each sample it loses.
    """
    entries = 0
    for row in range(state.size):
        state[row].alive = starts[row + 1] - starts[row]
        state[row].bucket = _find_bucket(state, row, per_sample)
        entries += 1 + min(state[row].alive, state[row].bucket)
    return entries


@kernel
def peel(
    rows: Int32Array,
    offsets: Int64Array,
    starts: Int64Array,
    samples_by_row: Int32Array,
    state: npt.NDArray[np.void],
    per_sample: float,
    cost_bytes: Int64Array,
    stop_bytes: int,
    charged: Int32Array,
) -> Int32Array:
    """Remove rows until the remaining ones take at most `stop_bytes`; return them in that order.

    `rows` and `offsets` are those of StackedSamples, `starts` and `samples_by_row` their index.
    `state` holds each row's load and inverse relative cost, and is modified. The next row to go has
    the least `(load + per_sample * alive) * inverse_cost`, up to the width of a bucket; among such
    rows, it is the one whose worth fell last, which keeps losses where losses already are.
    `charged` (samples,) is set to the row whose removal ended the sample; samples that survive
    keep their value. A pass takes time linear in the accesses.
    """
    # Each bucket is a linked stack: `heads[bucket]` is its top entry, `entry_row` and `entry_next`
    # are an entry's row and the entry below. A row's worth only falls during a pass, so a row is
    # never moved: it is pushed again on its lower bucket, and its older entries become stale.
    count = starts.size - 1
    capacity = _begin_pass(state, starts, per_sample)
    entry_row = np.empty(capacity, np.int32)
    entry_next = np.empty(capacity, np.int32)
    heads = np.full(_BUCKETS, _NO_ENTRY, np.int32)
    entries = 0
    for row in range(count):
        bucket = state[row].bucket
        entry_row[entries], entry_next[entries] = row, heads[bucket]
        heads[bucket] = entries
        entries += 1
    is_dead = np.zeros(offsets.size - 1, np.bool_)
    order = np.empty(count, np.int32)
    remaining_bytes = cost_bytes.sum()
    lowest = removed = 0
    while removed < count and remaining_bytes > stop_bytes:
        # Pop the top of the lowest bucket that is not empty.
        while heads[lowest] == _NO_ENTRY:
            lowest += 1
        row = entry_row[heads[lowest]]
        heads[lowest] = entry_next[heads[lowest]]
        if state[row].bucket != lowest:
            continue  # stale: the row is in a lower bucket by now, or removed
        state[row].bucket = _REMOVED
        order[removed] = row
        removed += 1
        remaining_bytes -= cost_bytes[row]
        # Its live samples die with it, and every other row of theirs loses their worth.
        for holder in range(starts[row], starts[row + 1]):
            sample = samples_by_row[holder]
            if is_dead[sample]:
                continue
            is_dead[sample] = True
            charged[sample] = row
            for access in range(offsets[sample], offsets[sample + 1]):
                other = rows[access]
                if state[other].bucket == _REMOVED:
                    continue
                state[other].alive -= 1
                bucket = _find_bucket(state, other, per_sample)
                if bucket != state[other].bucket:
                    state[other].bucket = bucket
                    entry_row[entries], entry_next[entries] = other, heads[bucket]
                    heads[bucket] = entries
                    entries += 1
                    lowest = min(lowest, bucket)
    return order[:removed]


@kernel
def count_hot_samples(rows: Int32Array, offsets: Int64Array, is_hot: BoolArray) -> int:
    """Return the number of samples whose rows are all hot."""
    count = 0
    for sample in range(offsets.size - 1):
        all_hot = True
        for access in range(offsets[sample], offsets[sample + 1]):
            if not is_hot[rows[access]]:
                all_hot = False
                break
        count += all_hot
    return count
