"""Pseudo-random keys of rows: a function of seed and row number, whatever the partitions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def generate_row_keys(first: int, count: int, seed: int) -> UInt64Array:
    """64-bit keys of the rows [first, first + count).

    Splitmix64 (Steele, Lea and Flood, 2014) permutes the 64-bit numbers, so no two rows have one
    key and sorting by key is a full shuffle without ties.
    """
    keys = np.arange(first, first + count, dtype=np.uint64)
    keys += mix_bits(np.array([seed % 2**64], dtype=np.uint64))
    return mix_bits(keys)


def draw_sample(first: int, count: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of the rows [first, first + count) belong to a sample of about `share` of all rows.

    The draw is independent of the shuffle of the same seed.
    """
    if share >= 1:
        return np.ones(count, dtype=np.bool_)
    keys = mix_bits(generate_row_keys(first, count, seed) ^ _GOLDEN)
    return keys < np.uint64(int(share * 2**64))


def mix_bits(keys: UInt64Array) -> UInt64Array:
    """Splitmix64's output for each state in `keys`: a permutation of the 64-bit numbers."""
    keys = keys + _GOLDEN
    keys = (keys ^ (keys >> np.uint64(30))) * _MIX_1
    keys = (keys ^ (keys >> np.uint64(27))) * _MIX_2
    return keys ^ (keys >> np.uint64(31))
