"""Peeling: dropping rows one by one, the least worth per byte first, inputs dying with them.

Compiled by numba: a pass touches every access once, and each touch moves one row between buckets,
so a pass is linear in the accesses. Nothing here knows of tables or budgets.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fae.arrays.jit import kernel

#: One row's state, four to a cache line: the touches of a pass are random accesses.
STATE = np.dtype(
    [
        ("load", np.float32),
        ("rate", np.float32),
        ("alive", np.int32),
        ("bucket", np.int32),
    ]
)
#: Buckets are 1/32 octave wide (the upper 14 bits of a float32) and reach past 2**63.
_SHIFT = 18
_ZERO_BUCKET = int(np.float32(1).view(np.int32)) >> _SHIFT
_BUCKETS = 64 * 32
_NONE = -1


@kernel
def holders(
    rows: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """For each of `count` rows, the inputs that access it: (starts (count + 1,), inputs)."""
    starts = np.zeros(count + 1, np.int64)
    for row in rows:
        starts[row + 1] += 1
    for row in range(count):
        starts[row + 1] += starts[row]
    place = starts[:-1].copy()
    inputs = np.empty(rows.size, np.int32)
    for one in range(offsets.size - 1):
        for at in range(offsets[one], offsets[one + 1]):
            row = rows[at]
            inputs[place[row]] = one
            place[row] += 1
    return starts, inputs


@numba.njit(inline="always")
def _bucket(state: npt.NDArray[np.void], row: int, per_input: float) -> Any:
    """The bucket of a row's worth per byte."""
    worth = (state[row].load + per_input * state[row].alive) * state[row].rate
    return (np.float32(worth + 1.0).view(np.int32) >> _SHIFT) - _ZERO_BUCKET


@kernel
def _begin(state: npt.NDArray[np.void], starts: npt.NDArray[np.int64], per_input: float) -> int:
    """Set every row's bucket; return how many entries a pass may need.

    A row's worth only falls, so it is entered at most once in each bucket below its first.
    """
    entries = 0
    for row in range(state.size):
        state[row].alive = starts[row + 1] - starts[row]
        state[row].bucket = _bucket(state, row, per_input)
        entries += 1 + min(state[row].alive, state[row].bucket)
    return entries


@kernel
def peel(
    rows: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int32],
    state: npt.NDArray[np.void],
    per_input: float,
    price: npt.NDArray[np.int64],
    stop_bytes: int,
    charged: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Drop rows until those that are left take at most `stop_bytes`; return them in that order.

    `state` holds each row's load and rate (1 / relative price) and is worked on. The next row is
    one of the least `(load + per_input * alive) * rate`, up to the width of a bucket; among those,
    the one whose worth fell last, so that losses stay where there are losses already. An input that
    dies is charged to the row with which it does: `charged` (inputs,) is set to that row, and left
    as it is for inputs that live.
    """
    count = starts.size - 1
    capacity = _begin(state, starts, per_input)
    entered = np.empty(capacity, np.int32)
    after = np.empty(capacity, np.int32)
    heads = np.full(_BUCKETS, _NONE, np.int32)
    size = 0
    for row in range(count):
        entered[size], after[size] = row, heads[state[row].bucket]
        heads[state[row].bucket] = size
        size += 1
    dead = np.zeros(offsets.size - 1, np.bool_)
    order = np.empty(count, np.int32)
    left = price.sum()
    lowest = steps = 0
    while steps < count and left > stop_bytes:
        while heads[lowest] == _NONE:
            lowest += 1
        row = entered[heads[lowest]]
        heads[lowest] = after[heads[lowest]]
        if state[row].bucket != lowest:
            continue  # it has been entered in a lower bucket since, or is gone
        state[row].bucket = _NONE
        order[steps] = row
        steps += 1
        left -= price[row]
        for at in range(starts[row], starts[row + 1]):
            one = inputs[at]
            if dead[one]:
                continue
            dead[one] = True
            charged[one] = row
            for touched in range(offsets[one], offsets[one + 1]):
                other = rows[touched]
                if state[other].bucket == _NONE:
                    continue
                state[other].alive -= 1
                to = _bucket(state, other, per_input)
                if to != state[other].bucket:
                    state[other].bucket = to
                    entered[size], after[size] = other, heads[to]
                    heads[to] = size
                    size += 1
                    lowest = min(lowest, to)
    return order[:steps]


@kernel
def wholly_hot(
    rows: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], hot: npt.NDArray[np.bool_]
) -> int:
    """The number of inputs all of whose rows are hot."""
    count = 0
    for one in range(offsets.size - 1):
        whole = True
        for at in range(offsets[one], offsets[one + 1]):
            if not hot[rows[at]]:
                whole = False
                break
        count += whole
    return count
