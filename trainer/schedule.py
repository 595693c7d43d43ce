"""The order of an epoch's batches: hot and cold ones interleaved as evenly as they can be.

An even order has the statistics of a shuffle (no long phase of one kind, as FAE has, so no drift
towards either) and gives the host a hot batch's time to prepare the next cold one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """Which of an epoch's batches are hot, by position; a function of its fields alone.

    Hot batches come in their leaf's order, and so do cold ones. The seed and the epoch choose
    where the even pattern begins. `phase` lies in [0, batches).
    """

    hot: int
    cold: int
    phase: int

    @property
    def batches(self) -> int:
        """The number of batches, hot and cold."""
        return self.hot + self.cold

    def hot_before(self, position: int) -> int:
        """The number of hot batches among the first `position`; Bresenham's line in integers."""
        return (position * self.hot + self.phase) // self.batches if self.batches else 0

    def is_hot(self, position: int) -> bool:
        """Whether the batch at `position`, from 0 to batches - 1, is hot."""
        return self.hot_before(position + 1) > self.hot_before(position)


def schedule(hot: int, cold: int, seed: int, epoch: int) -> Schedule:
    """The order of `hot` hot and `cold` cold batches in an epoch; the same on every machine."""
    batches = hot + cold
    phase = int(np.random.default_rng([seed, epoch]).integers(batches)) if batches else 0
    return Schedule(hot, cold, phase)


def batch_count(rows: int, batch_size: int) -> int:
    """The number of batches that hold `rows` rows, the last one perhaps in part."""
    return -(-rows // batch_size)
