"""Sorting: the places of an array's numbers in ascending order, quicker than NumPy finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.jit import kernel

Places = npt.NDArray[np.uint32]
#: Bits of a digit: a digit's counts lie in the nearest cache.
_DIGIT = 11


def stable_argsort(numbers: npt.NDArray[np.integer[Any]]) -> Places:
    """The place of the smallest of fewer than 2^32 numbers, and so on; of equals the first first.

    Of wide numbers, those are looked at again that have their leading 32 bits in common.
    """
    if not numbers.size:
        return np.empty(0, dtype=np.uint32)
    least = numbers.min()
    above = numbers - least if numbers.dtype.kind == "u" else _unsigned(numbers) - _unsigned(least)
    shift = max(int(above.max()).bit_length() - 32, 0)
    words = above.astype(np.uint64)
    places = _places(words >> np.uint64(shift) if shift else words)
    if shift:
        _settle(above, places, np.uint64(shift))
    return places


def _unsigned(numbers: Any) -> Any:
    """Signed numbers as unsigned ones of their bits, whose differences are right."""
    return numbers.astype(np.int64).view(np.uint64)


def _settle(numbers: npt.NDArray[Any], places: Places, shift: np.uint64) -> None:
    """Order those that are alike but for their `shift` last bits."""
    leading = numbers[places] >> shift
    alike = leading[1:] == leading[:-1]
    tied = np.flatnonzero(np.append(alike, False) | np.append(False, alike))
    some = places[tied]
    places[tied] = some[np.argsort(numbers[some], kind="stable")]


@kernel
def _places(words: npt.NDArray[np.uint64]) -> Places:
    """The places of numbers of 32 bits in ascending order: a radix sort, least digit first.

    A number and its place are one word. A digit that all numbers share costs no pass.
    """
    mask = np.uint64((1 << _DIGIT) - 1)
    for at in range(words.size):
        words[at] = words[at] << np.uint64(32) | np.uint64(at)
    other = np.empty_like(words)
    for shift in range(32, 64, _DIGIT):
        begins = np.zeros((1 << _DIGIT) + 1, np.int64)
        for word in words:
            begins[(word >> np.uint64(shift) & mask) + np.uint64(1)] += 1
        if begins.max() == words.size:
            continue
        begins = np.cumsum(begins)
        for word in words:
            key = word >> np.uint64(shift) & mask
            other[begins[key]] = word
            begins[key] += 1
        words, other = other, words
    return words.astype(np.uint32)
