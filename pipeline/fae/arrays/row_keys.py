"""Row keys: pseudo-random numbers from a seed and a row number alone, however rows are split.

The mixing function is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

# The constants of splitmix64: 2**64 divided by the golden ratio, and two multipliers.
_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def generate_row_keys(first: int, count: int, seed: int) -> UInt64Array:
    """Return the 64-bit keys of the rows [first, first + count), shape (count,).

    `mix_bits` permutes the 64-bit integers, so no two rows have the same key, and sorting by key is
    a full shuffle without ties.
    """
    keys = np.arange(first, first + count, dtype=np.uint64)
    keys += mix_bits(np.array([seed % 2**64], dtype=np.uint64))
    return mix_bits(keys)


def draw_sample(first: int, count: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which of the rows [first, first + count) are in a sample of about `share` of all rows.

    The sample does not depend on the order that the same seed gives the shuffle.
    """
    if share >= 1:
        return np.ones(count, dtype=np.bool_)
    keys = mix_bits(generate_row_keys(first, count, seed) ^ _GOLDEN_GAMMA)
    return keys < np.uint64(int(share * 2**64))


def mix_bits(states: UInt64Array) -> UInt64Array:
    """Return splitmix64's output for each state: a permutation of the 64-bit integers."""
    mixed = states + _GOLDEN_GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MULTIPLIER_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MULTIPLIER_2
    return mixed ^ (mixed >> np.uint64(31))
