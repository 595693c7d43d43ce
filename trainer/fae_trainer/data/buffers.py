"""Reuse the memory of decoded rows and of batches once nothing refers to them.

A decoded window takes about 10 MB. The system clears fresh memory before its first use, which can
cost as much as decoding. Page-locked memory, which a GPU copies from, takes even longer to make.
"""

from __future__ import annotations

import weakref
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: The least size of a block of memory.
_MIN_BLOCK_BYTES = 1 << 12

#: Free blocks kept of each size, such as the batches of 2,048 rows of eight windows.
_MAX_FREE_BLOCKS = 256


class Buffers:
    """A pool of host memory. Threads may share it; a pickled copy of it is empty."""

    def __init__(self) -> None:
        """Make an empty pool."""
        self._free: defaultdict[int, list[npt.NDArray[np.uint8]]] = defaultdict(list)

    def allocate(self, size: int) -> Tensor:
        """Return uninitialised bytes, whose memory returns to the pool with the last view of them.

        Views are those that torch makes, and what `Tensor.numpy` returns.
        """
        rounded = round_up(size)
        free = self._free[rounded]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(rounded, dtype=np.uint8)
        array = memory[:size]
        # The tensor's storage holds `array`. NumPy views of that would refer to `memory`, its base,
        # but what Tensor.numpy returns refers to the tensor.
        weakref.finalize(array, _release, free, memory).atexit = False
        return torch.from_numpy(array)

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return Buffers, ()


def allocate_pinned(size: int) -> Tensor:
    """Return uninitialised bytes of page-locked memory.

    PyTorch keeps the memory when its last tensor is gone, and gives it out again only after every
    copy from it to a device that was started with `non_blocking` is done: each such copy records an
    event with its memory (the caching host allocator). So these blocks form a ring that needs no
    waiting here: a block that a copy still reads is passed over.
    """
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


def round_up(size: int) -> int:
    """Return the block size for so many bytes: an eighth more at most, so that few sizes exist."""
    step = max(_MIN_BLOCK_BYTES, 1 << size.bit_length() >> 4)
    return max(-(-size // step), 1) * step


def _release(free: list[npt.NDArray[np.uint8]], memory: npt.NDArray[np.uint8]) -> None:
    if len(free) < _MAX_FREE_BLOCKS:
        free.append(memory)
