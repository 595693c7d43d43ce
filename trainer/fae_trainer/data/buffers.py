"""Reuse the memory of decoded arrays once nothing refers to them.

A decoded window takes about 10 MB. The system clears fresh memory before its first use, which can
cost as much as decoding.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

#: Blocks of memory are multiples of this size, so that arrays of similar sizes share them.
_BLOCK_BYTES = 1 << 20

#: Free blocks kept of each size.
_MAX_FREE_BLOCKS = 16


class Buffers:
    """A pool of memory for arrays. Threads may share it; a pickled copy of it is empty."""

    def __init__(self) -> None:
        """Make an empty pool."""
        self._free: defaultdict[int, list[npt.NDArray[np.uint8]]] = defaultdict(list)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an uninitialised array, whose memory returns to the pool when it is deleted.

        A tensor made by `torch.from_numpy` keeps the array alive; a NumPy view of it does not.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        rounded = -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
        free = self._free[rounded]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(rounded, dtype=np.uint8)
        array = memory[:size].view(dtype).reshape(shape)
        # NumPy views refer to `memory`, the base of the array, and not to the array itself.
        weakref.finalize(array, _release, free, memory).atexit = False
        return array

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return Buffers, ()


def _release(free: list[npt.NDArray[np.uint8]], memory: npt.NDArray[np.uint8]) -> None:
    if len(free) < _MAX_FREE_BLOCKS:
        free.append(memory)
