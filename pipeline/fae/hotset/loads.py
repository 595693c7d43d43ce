"""Loads: the worth of all samples, distributed among their rows, which bounds any hot set.

The worth of a hot set is the sum over its hot samples and its rows' accesses. Loads assign all of a
sample's worth to the sample's own rows. A hot sample has all its rows in the hot set, so the hot
set is worth at most the sum of its rows' loads. No set of that many bytes has a larger sum than the
rows of highest load per byte, the last of them in part: this is the fractional knapsack, and the
loads are a feasible point of the dual of the linear programme.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int64Array
from fae.arrays.jit import kernel, kernel_helper

Floats = npt.NDArray[np.float64]

#: Prices of a byte are tried in steps of 1/1024 of an octave, so many octaves below the highest
#: load per byte. The upper bits of a positive float, read as an integer, are a logarithm of it.
_OCTAVES, _STEPS_PER_OCTAVE, _SHIFT_BITS = 40, 1 << 10, 42


@dataclass(frozen=True)
class Loads:
    """Group i of rows, hot or cold together, has `loads[i]` and takes `cost_bytes[i]`.

    Id 0 of all tables, hot in any case, is worth `oov_worth` and takes `oov_bytes`.
    """

    oov_worth: float
    oov_bytes: int
    loads: Floats
    cost_bytes: Int64Array

    @property
    def total(self) -> float:
        """The worth of all rows together."""
        return self.oov_worth + float(self.loads.sum())

    def bound_worth(self, budgets: Int64Array) -> Floats:
        """Return an upper bound on the worth of any hot set at each of `budgets`, in bytes.

        For any price of a byte, what a hot set is worth is at most the price of the budget and what
        loads exceed their own price by. The best price is about that at which the groups whose load
        exceeds it take the budget.
        """
        top, worth, cost_bytes = _sum_by_density(self.loads, self.cost_bytes)
        prices = (top - np.arange(worth.size) << _SHIFT_BITS).view(np.float64)
        dearest = np.searchsorted(cost_bytes, budgets - self.oov_bytes, side="right")
        steps = np.clip(np.stack([dearest - 1, dearest]), 0, worth.size - 1)
        unspent = np.maximum(budgets - self.oov_bytes, 0) - cost_bytes[steps]
        at_best = (prices[steps] * unspent + worth[steps]).min(axis=0)
        bounds: Floats = self.oov_worth + np.minimum(at_best, self.loads.sum())
        return bounds


@kernel_helper
def _find_step(load: float, cost_bytes: int) -> Any:
    """Return the step of a load per byte, on a scale that ascends."""
    density = np.float64(load / cost_bytes)
    return density.view(np.int64) >> _SHIFT_BITS


@kernel
def _sum_by_density(loads: Floats, cost_bytes: Int64Array) -> tuple[int, Floats, Floats]:
    """Return the highest step of load per byte, and the sums of all groups up to each step below.

    The sums are of loads, and of bytes. Groups of less than the lowest step are left out.
    """
    steps = _OCTAVES * _STEPS_PER_OCTAVE
    top = steps
    for i in range(loads.size):
        top = max(top, _find_step(loads[i], cost_bytes[i]))
    worth, spent = np.zeros(steps), np.zeros(steps)
    for i in range(loads.size):
        step = top - _find_step(loads[i], cost_bytes[i])
        if step < steps:
            worth[step] += loads[i]
            spent[step] += cost_bytes[i]
    return top, np.cumsum(worth), np.cumsum(spent)
