"""Windows: the row groups that are decoded together, and the random orders of an epoch.

Windows whose rows are mixed with each other are a mix; by default, each window is one of its own.
A mix's windows have a random order of their rows each, and a random order of the windows' numbers,
each as often as the window has rows, says which window the next row comes from. So the rows of the
mix come in a random order, and what a batch takes of a window is consecutive in the window's order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True, eq=False)
class MixSlice:
    """The rows of a mix from `start` to before `stop`, in the epoch's order.

    `sources`, (rows of the mix,), has the number of the window that each row of the mix comes from.
    """

    windows: Sequence[Window]
    sources: Ints
    start: int
    stop: int

    def count_rows(self, start: int, stop: int) -> list[int]:
        """Return how many of the mix's rows from `start` to before `stop` each window has."""
        found = self.sources[start:stop]
        counts: list[int] = np.bincount(found, minlength=len(self.windows)).tolist()
        return counts


def cut_mixes(windows: Sequence[Window], most: int) -> Iterator[Sequence[Window]]:
    """Yield consecutive windows as mixes of at most so many, as few and as equal as can be."""
    mixes = -(-len(windows) // most)
    bounds = [len(windows) * mix // mixes for mix in range(mixes + 1)]
    return (windows[start:stop] for start, stop in itertools.pairwise(bounds))


def draw_sources(mix: Sequence[Window], shuffle: Shuffle | None, hot: bool) -> Ints:
    """Return the number of the window that each row of a mix comes from, in the epoch's order."""
    sources = np.repeat(np.arange(len(mix)), [window.rows for window in mix])
    if shuffle is None or len(mix) == 1:
        return sources
    # A key of the first window that is longer than those of the windows' own orders.
    return sources[shuffle.permute(len(sources), hot, mix[0].file, mix[0].number, 1)]


def cut_windows(sizes: list[int], min_rows: int) -> Iterator[range]:
    """Yield ranges of row groups of these sizes; all but the last have at least `min_rows` rows."""
    begin = rows = 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= min_rows or group == len(sizes) - 1:
            yield range(begin, group + 1)
            begin, rows = group + 1, 0
