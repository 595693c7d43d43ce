"""Moments: the mean and standard deviation of numbers in train, for columns that learn them.

Sums are exact whole numbers, so neither the order of adding nor how logs were cut into parts shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import to_numpy
from fae.execution.executor import Executor
from fae.format.manifest import LearntMoments
from fae.ingestion.staging import Staging
from fae.profiling.splits import TRAIN, SplitPoints, assign_splits
from fae.storage.folder import Folder

Floats = npt.NDArray[np.float32]
#: A float32 is a whole number of at most so many bits, times a power of two.
_MANTISSA_BITS = 24
#: The exponent of the smallest float32 above 0, 2^-149, as `frexp` gives it; and what the whole
#: number 1 is then worth: sums count in such units.
_LOWEST_EXPONENT = -148
_UNIT = Fraction(1, 2 ** (_MANTISSA_BITS - _LOWEST_EXPONENT))
_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Task:
    """One staged part, whose train rows to add up."""

    staging: Folder
    cuts: SplitPoints
    part: int


def learn_moments(
    staging: Staging, cuts: SplitPoints, executor: Executor, task_log: Folder
) -> tuple[LearntMoments, ...]:
    """Return the moments of the staged train rows for each dense column that learns them."""
    names = staging.schema.learnt_columns
    if not names:
        return ()
    tasks = [_Task(staging.directory, cuts, part) for part in range(len(staging.parts))]
    parts = executor.run("moments", _add_up_part, tasks, task_log=task_log)
    moments = []
    for number, name in enumerate(names):
        rows, total, squares = (sum(part[number][i] for part in parts) for i in range(3))
        mean = Fraction(total, rows) * _UNIT
        variance = Fraction(squares, rows) * _UNIT**2 - mean**2
        moments.append(LearntMoments(name, float(mean), math.sqrt(variance)))
    return tuple(moments)


def standardize(values: Floats, moments: LearntMoments) -> Floats:
    """Return numbers by their moments, in float32's range; 0 for all where all train rows agree."""
    if not moments.std:
        return np.zeros_like(values)
    scaled = (values.astype(np.float64) - moments.mean) / moments.std
    return scaled.clip(-_MAX, _MAX).astype(np.float32)


def _add_up_part(task: _Task) -> list[list[int]]:
    """Return, for each column, a part's train rows, the sum of their numbers and of the squares."""
    staging = Staging.read(task.staging)
    is_train = assign_splits(staging, task.part, task.cuts) == TRAIN
    names = list(staging.schema.learnt_columns)
    table = staging.open_part(task.part).read_columns(names)
    return [add_up(to_numpy(table[name].chunk(0))[is_train]) for name in names]


def add_up(values: Floats) -> list[int]:
    """Return the size of `values`, and their sum and that of their squares in units."""
    fractions, exponents = np.frexp(values.astype(np.float64))
    numbers = (fractions * 2**_MANTISSA_BITS).astype(np.int64)
    shifts = exponents - _LOWEST_EXPONENT
    high, low = np.divmod(numbers**2, 2**_MANTISSA_BITS)
    squares = (_sum_shifted(high, 2 * shifts) << _MANTISSA_BITS) + _sum_shifted(low, 2 * shifts)
    return [values.size, _sum_shifted(numbers, shifts), squares]


def _sum_shifted(numbers: npt.NDArray[np.int64], shifts: npt.NDArray[np.int32]) -> int:
    """Return the exact sum of numbers of 24 bits, fewer than 2^29, each times a power of two.

    Sums in float64 are exact below 2^53.
    """
    of_shift = np.bincount(np.maximum(shifts, 0), weights=numbers)
    return sum(int(total) << shift for shift, total in enumerate(of_shift.tolist()))
