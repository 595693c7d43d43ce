"""Stable argsort: the positions of an array's integers in ascending order.

NumPy sorts 64-bit integers by vector instructions, several times as fast as its stable argsort. So
a value and its position go into one 64-bit word, and the words are sorted: no two are equal, and of
equal values the first position comes first. benchmarks/stable_argsort.py compares other ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.uint32]


def stable_argsort(values: npt.NDArray[np.integer[Any]]) -> Positions:
    """Return the stable argsort of fewer than 2**32 integers, shape (values,)."""
    if not values.size:
        return np.empty(0, dtype=np.uint32)
    # Only differences from the least matter: they often fit 32 bits where the values do not.
    # Signed values are subtracted as unsigned ones: the result wraps around to the right one.
    least = values.min()
    offsets = values - least if values.dtype.kind == "u" else _as_bits(values) - _as_bits(least)
    bits = int(offsets.max()).bit_length()
    if bits <= 16:  # NumPy has a radix sort for these
        return np.argsort(offsets.astype(np.uint16), kind="stable").astype(np.uint32)
    shift = np.uint64(max(bits - 32, 0))
    words = offsets.astype(np.uint64)
    words >>= shift
    words <<= np.uint64(32)
    words |= np.arange(words.size, dtype=np.uint64)
    words.sort()
    positions: Positions = words.astype(np.uint32)  # keeps the lower half
    if shift:
        _sort_ties(offsets, positions, shift)
    return positions


def _as_bits(values: Any) -> Any:
    """Return signed integers as the unsigned ones of their bits."""
    return values.astype(np.int64).view(np.uint64)


def _sort_ties(offsets: npt.NDArray[Any], positions: Positions, shift: np.uint64) -> None:
    """Sort the positions of values that differ in their lowest `shift` bits alone, in place.

    Such values are neighbours by now. Of random ones there are few: of a million, about 230.
    """
    leading = offsets[positions] >> shift
    equal = leading[1:] == leading[:-1]
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    tied_positions = positions[tied]
    positions[tied] = tied_positions[np.argsort(offsets[tied_positions], kind="stable")]
