"""The order of an epoch's hot and cold batches: a function of sizes, seed, epoch and feedback.

No order depends on where rows live, so every placement trains on the same batches. Hot batches come
in their leaf's order under all of them, and so do cold ones.

- `interleaved` mixes the two as evenly as they can be. That has the statistics of a shuffle (no
  long phase of one kind, so no drift towards either) and gives the host a hot batch's time to
  prepare the next cold one.
- `shuffled` mixes them at random.
- `phases` is all cold batches, then all hot ones.
- `adaptive` is the FAE paper's shuffle scheduler: R % of the cold batches, R % of the hot ones, a
  look at the validation's loss, which changes R (`Pace`), and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which of an epoch's batches are hot, by position, as far as it is known.

    `hot_counts` is (batches + 1,): hot batches among the first 0, 1, 2, … Only `adaptive` knows
    less than the `whole` epoch at a time.
    """

    hot_counts: Ints
    whole: int

    @property
    def batches(self) -> int:
        """The number of batches, hot and cold, whose order is known."""
        return len(self.hot_counts) - 1

    @property
    def complete(self) -> bool:
        """Whether the order is known to the epoch's end."""
        return self.batches == self.whole

    def hot_before(self, position: int) -> int:
        """The number of hot batches among the first `position`."""
        return int(self.hot_counts[position])

    def is_hot(self, position: int) -> bool:
        """Whether the batch at `position`, from 0 to batches - 1, is hot."""
        return bool(self.hot_counts[position + 1] > self.hot_counts[position])


@dataclass(frozen=True)
class Pace:
    """The shuffle scheduler's state: R in percent, the last loss, and how often it fell running.

    The loss rose: R halves, down to 1, so that hot and cold mix more finely. It fell four times
    running: R doubles, up to 100, so that fewer switches are paid for.
    """

    rate: int = 50
    loss: float | None = None
    falls: int = 0

    def after(self, loss: float) -> Pace:
        """The state once `loss` has been measured; the first has nothing to be compared with."""
        if self.loss is None:
            return Pace(self.rate, loss)
        if loss > self.loss:
            return Pace(max(self.rate // 2, 1), loss)
        falls = self.falls + 1 if loss < self.loss else 0
        if falls == 4:
            return Pace(min(self.rate * 2, 100), loss)
        return Pace(self.rate, loss, falls)


def make_schedule(
    hot: int,
    cold: int,
    seed: int,
    epoch: int,
    name: str = "interleaved",
    feedback: Sequence[float] = (),
) -> Schedule:
    """The order of `hot` hot and `cold` cold batches in an epoch; the same on every machine.

    `feedback` has the losses that `adaptive` was told at the end of each of its rounds, from the
    run's first epoch on.
    """
    if name == "adaptive":
        counts = _count_hot(_alternate_rounds(hot, cold, epoch, feedback))
    elif name == "phases":
        counts = _count_hot(np.arange(hot + cold) >= cold)
    elif name == "shuffled":
        kinds = np.arange(hot + cold) < hot
        counts = _count_hot(np.random.default_rng([seed, epoch]).permutation(kinds))
    else:
        counts = _interleave(hot, hot + cold, seed, epoch)
    return Schedule(counts, hot + cold)


def count_batches(rows: int, batch_size: int) -> int:
    """The number of batches that hold `rows` rows, the last one perhaps in part."""
    return -(-rows // batch_size)


def _count_hot(kinds: Kinds) -> Ints:
    """How many of the first 0, 1, 2, … are set."""
    return np.concatenate([[0], np.cumsum(kinds)]).astype(np.int64)


def _interleave(hot: int, batches: int, seed: int, epoch: int) -> Ints:
    """Bresenham's line in integers; the seed and the epoch choose where the pattern begins."""
    if not batches:
        return np.zeros(1, dtype=np.int64)
    phase = np.random.default_rng([seed, epoch]).integers(batches)
    line: Ints = (np.arange(batches + 1, dtype=np.int64) * hot + phase) // batches
    return line


def _alternate_rounds(hot: int, cold: int, epoch: int, feedback: Sequence[float]) -> Kinds:
    """The epoch's batches as far as the feedback tells their order."""
    pace, told = Pace(), iter(feedback)
    for _ in range(epoch + 1):
        kinds: list[Kinds] = [np.zeros(0, dtype=np.bool_)]
        left = [cold, hot]
        while any(left):
            for kind, size in enumerate((cold, hot)):
                count = min(left[kind], -(-size * pace.rate // 100))
                kinds.append(np.full(count, bool(kind)))
                left[kind] -= count
            loss = next(told, None)
            if loss is None:
                return np.concatenate(kinds)
            pace = pace.after(loss)
    return np.concatenate(kinds)
