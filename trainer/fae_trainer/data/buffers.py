"""Buffers: memory for arrays that is used again as soon as nobody holds what is in it.

A window of inputs takes some 10 MB. Fresh memory for each is cleared by the system first, which can
cost as much as decoding it.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

#: Memory comes in multiples of so many bytes; of each size so many pieces are kept, at most.
_STEP, _MOST = 1 << 20, 16


class Buffers:
    """Memory that arrays come from and go back to. Threads may share it; a copy of it is empty."""

    def __init__(self) -> None:
        """No memory yet."""
        self._free: defaultdict[int, list[npt.NDArray[np.uint8]]] = defaultdict(list)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array with any content, whose memory is used again once it is gone.

        A tensor made of it by `torch.from_numpy` holds it; a view by NumPy does not.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        free = self._free[-(-size // _STEP) * _STEP]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(-(-size // _STEP) * _STEP, dtype=np.uint8)
        array = memory[:size].view(dtype).reshape(shape)
        weakref.finalize(array, _keep, free, memory).atexit = False
        return array

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return Buffers, ()


def _keep(free: list[npt.NDArray[np.uint8]], memory: npt.NDArray[np.uint8]) -> None:
    if len(free) < _MOST:
        free.append(memory)
