"""Peeling: the hot set that makes the most samples wholly hot.

A sample is hot only if all its rows are, so the worth of a row depends on the rows beside it.
Choosing rows of bounded bytes that contain the most samples is the densest-subhypergraph problem
with a budget: rows are vertices, samples are hyperedges.

One pass of peeling is Charikar's greedy algorithm (APPROX 2000): remove the row of least worth per
byte, and with it the samples that access it, until no row is left; the last rows to go are the
densest. Every sample is charged to the row whose removal ended it. Greedy++ repeats passes (Boob et
al., "Flowless", WWW 2020), and adds to a row's worth the charges of earlier passes, its load: rows
that were charged much, though removed early, stay longer next time. It converges to the densest
decomposition (Chekuri, Quanrud and Torres, SODA 2022).

The mean loads of all passes assign each sample's worth to its own rows, so they also bound what
any hot set can reach (see `bound_worth`), and the rule stops once it is near enough to the bound.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.jit import kernel, kernel_helper
from fae.arrays.run_length import RowRanges
from fae.hotset.problem import (
    Floats,
    Problem,
    Ranking,
    StackedSamples,
    bound_worth,
    count_affordable,
)
from fae.hotset.rules.accesses import rank_by_accesses

#: Passes end once the worth of the hot set is within this share of the bound …
TARGET_GAP = 0.003
#: … or once all passes together have visited this many accesses.
MAX_ACCESSES = 300_000_000
MIN_PASSES, MAX_PASSES = 3, 200
#: One pass in so many, the first included, removes all rows. The others stop when the remaining
#: rows take this share of the budget.
FULL_PASS_INTERVAL, STOP_SHARE = 4, 0.5

#: One row's state, four to a cache line: a pass accesses rows in random order.
STATE = np.dtype([("load", "f4"), ("inverse_cost", "f4"), ("alive", "i4"), ("bucket", "i4")])
#: Buckets are 1/32 octave wide (the upper 14 bits of a float32) and reach past 2**63.
_BUCKET_SHIFT_BITS = 18
_ZERO_BUCKET = int(np.float32(1).view(np.int32)) >> _BUCKET_SHIFT_BITS
_BUCKETS = 64 * 32
_NO_ENTRY = _REMOVED = -1


def rank_by_peeling(
    problem: Problem, support: Floats | None = None, max_passes: int | None = None
) -> Ranking:
    """Rank rows by repeated peeling, in the order of the pass that is best at the budget.

    Most passes stop below the budget, since the choice is made above it; the remaining rows are
    ranked as in the last full pass. The ranking is never worth less than that of `rank_by_accesses`
    at the budget. Time is linear in the accesses; memory is about 9 bytes per access and 80 per
    row. Deterministic. `support` (rows,) are shares of the rows' worth that count when the next row
    to remove is chosen; None counts all. At most `max_passes` are made, by default MAX_PASSES.
    """
    rows, samples = problem.rows, problem.read_samples()
    count, per_sample = rows.count, problem.objective.per_sample
    starts, samples_by_row = index_samples_by_row(samples.rows, samples.offsets, count)
    # What each row is worth whatever else is hot: its accesses, if they count at all.
    certain = problem.objective.per_access * rows.accesses.astype(np.float64)
    # A sample without rows is always hot: its worth stays with a row that is, too.
    charged = np.full(samples.count, rows.oov_rows[0], dtype=np.int32)
    state = np.zeros(count, dtype=STATE)
    state["inverse_cost"] = rows.cost_bytes.min() / rows.cost_bytes
    if support is not None:
        state["inverse_cost"] *= support
    best = rank_by_accesses(problem).ranked_rows
    best_worth = measure_worth(problem, samples, best)
    loads = np.zeros(count)
    full_order = np.empty(0, dtype=np.int32)
    for passes in range(1, (max_passes or MAX_PASSES) + 1):
        state["load"] = loads + certain
        is_full = passes % FULL_PASS_INTERVAL == 1
        stop_bytes = -1 if is_full else int(STOP_SHARE * problem.budget_bytes)
        removed = peel(
            samples.rows, samples.offsets, starts, samples_by_row, state, per_sample,
            rows.cost_bytes, stop_bytes, charged,
        )  # fmt: skip
        # Samples that survive a partial pass stay charged as before, so that each pass charges all.
        loads += certain + per_sample * np.bincount(charged, minlength=count)
        full_order = removed[::-1] if is_full else full_order
        candidate = rows.to_ranges(_order_rows(problem, removed, full_order))
        worth = measure_worth(problem, samples, candidate)
        if worth >= best_worth:  # of equals the later, which is better at other budgets
            best, best_worth = candidate, worth
        limit = bound_worth(rows, loads / passes, np.array([problem.budget_bytes]))[0]
        is_near = best_worth >= (1 - TARGET_GAP) * limit
        if passes >= MIN_PASSES and (is_near or passes * samples.rows.size >= MAX_ACCESSES):
            break
    return Ranking(best, loads / passes, {"passes": passes})


def measure_worth(problem: Problem, samples: StackedSamples, ranked_rows: RowRanges) -> float:
    """Return the worth, by the problem's objective, of the `ranked_rows` that the budget buys."""
    rows, objective = problem.rows, problem.objective
    bought = ranked_rows.head(count_affordable(rows, ranked_rows, problem.budget_bytes))
    is_hot = np.zeros(rows.count, dtype=np.bool_)
    is_hot[bought.to_rows()] = True
    hot_samples = count_hot_samples(samples.rows, samples.offsets, is_hot)
    accesses = float(rows.access_counts.sum_ranges(bought).sum()) if objective.per_access else 0.0
    return objective.per_sample * hot_samples + objective.per_access * accesses


def _order_rows(problem: Problem, removed: Int32Array, full_order: Int32Array) -> Int64Array:
    """Return id 0 of each table, then the seen rows, last removed first.

    Rows that are not in `removed` come before it, in the order of `full_order`, which has the rows
    of a full pass, last removed first.
    """
    rows = problem.rows
    is_removed = np.zeros(rows.count, dtype=np.bool_)
    is_removed[removed] = True
    is_seen = np.zeros(rows.count, dtype=np.bool_)
    is_seen[rows.seen_rows] = True
    order = np.concatenate([full_order[~is_removed[full_order]], removed[::-1]])
    return np.concatenate([rows.oov_rows, order[is_seen[order]]])


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
