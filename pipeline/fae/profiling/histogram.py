"""Access histograms: how many values have each number of accesses, which fixes their ranks.

A value's access rank is its place when the values with most accesses come first. Where values are
counted in several chunks, their histograms alone say which ranks each chunk's values have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int64Array

Ranks = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class AccessHistogram:
    """How many `values` (levels,) have each number of `accesses` (levels,), most accesses first."""

    accesses: Int64Array
    values: Int64Array

    @classmethod
    def from_descending(cls, accesses: npt.NDArray[Any]) -> AccessHistogram:
        """Count the values with each number of accesses, given each value's, most first."""
        begins = np.flatnonzero(np.diff(accesses, prepend=accesses[:1] + 1))
        values = np.diff(begins, append=accesses.size)
        return cls(accesses[begins].astype(np.int64), values)

    @property
    def value_count(self) -> int:
        """The number of values."""
        return int(self.values.sum())

    @property
    def access_count(self) -> int:
        """The accesses of all values together."""
        return int((self.accesses * self.values).sum())

    def filter(self, min_count: int) -> AccessHistogram:
        """Return the histogram of the values with at least `min_count` accesses."""
        kept = self.accesses >= min_count
        return AccessHistogram(self.accesses[kept], self.values[kept])


def merge_histograms(chunks: Sequence[AccessHistogram]) -> tuple[AccessHistogram, list[Int64Array]]:
    """Return the histogram of all chunks, and the first rank of each level of each chunk, from 1.

    Of values with as many accesses, those of the first chunk have the first ranks, and so on.
    """
    accesses = np.unique(np.concatenate([chunk.accesses for chunk in chunks]))
    values = np.zeros(accesses.size, dtype=np.int64)
    for chunk in chunks:
        values[np.searchsorted(accesses, chunk.accesses)] += chunk.values
    # The next rank to give at each level, of which `accesses` has those of fewest accesses first.
    next_ranks = 1 + np.cumsum(values[::-1])[::-1] - values
    first_ranks = []
    for chunk in chunks:
        levels = np.searchsorted(accesses, chunk.accesses)
        first_ranks.append(next_ranks[levels])
        next_ranks[levels] += chunk.values
    return AccessHistogram(accesses[::-1], values[::-1]), first_ranks


def expand_ranks(values: Int64Array, first_ranks: Int64Array) -> Ranks:
    """Return the rank of each value of a chunk, in the chunk's own order.

    Level i has `values[i]` values, whose ranks ascend from `first_ranks[i]`.
    """
    begins = np.cumsum(values) - values
    ranks = np.repeat((first_ranks - begins).astype(np.uint32), values)
    ranks += np.arange(ranks.size, dtype=np.uint32)
    return ranks
