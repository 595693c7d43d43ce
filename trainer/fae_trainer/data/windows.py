"""Windows: the row groups that are decoded together, and the random orders of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fae_trainer.data.batches import Ints


@dataclass(frozen=True)
class Shuffle:
    """The random orders of one seed and epoch."""

    seed: int
    epoch: int

    def permute(self, count: int, *key: int) -> Ints:
        """Return the numbers below `count` in the random order that belongs to `key`."""
        return np.random.default_rng([self.seed, self.epoch, *key]).permutation(count)


@dataclass(frozen=True)
class Window:
    """Window number `number` of the leaf's file number `file`: consecutive row groups."""

    file: int
    number: int
    groups: range
    rows: int


@dataclass(frozen=True)
class WindowSlice:
    """The rows of a window from `start` to before `stop`, in the epoch's order."""

    window: Window
    start: int
    stop: int


def cut_windows(sizes: list[int], min_rows: int) -> Iterator[range]:
    """Yield ranges of row groups of these sizes; all but the last have at least `min_rows` rows."""
    begin = rows = 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= min_rows or group == len(sizes) - 1:
            yield range(begin, group + 1)
            begin, rows = group + 1, 0
