"""Workspace: memory that a thread uses again, task after task.

Fresh memory is cleared by the system, which can cost more than the work that is done in it.
"""

from __future__ import annotations

import math
import threading
import weakref
from typing import IO, Any

import numpy as np
import numpy.typing as npt


class _Arrays(dict[str, npt.NDArray[np.uint8]]):
    """A thread's memory by its use."""


class _Kept(threading.local):
    """What this thread keeps, and all threads' for who frees it."""

    def __init__(self) -> None:
        self.arrays = _Arrays()
        _every[id(self.arrays)] = self.arrays


_every: weakref.WeakValueDictionary[int, _Arrays] = weakref.WeakValueDictionary()
_kept = _Kept()


def reuse_buffer(use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array with any content, in memory that this thread's next call for this use takes again.

    What is made in it must be done with by then.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    array = _kept.arrays.pop(use, None)
    if array is None or array.size < size:
        del array  # before the larger one is there
        array = np.empty(size, dtype=np.uint8)
    _kept.arrays[use] = array
    return array[:size].view(dtype).reshape(shape)


def free_buffers() -> None:
    """Give back what all threads of this process keep for their next tasks."""
    for arrays in list(_every.values()):
        arrays.clear()


def read_into_buffer(file: IO[bytes], use: str, size: int) -> memoryview:
    """At most `size` bytes of a file from where it stands, in the thread's workspace."""
    view = memoryview(reuse_buffer(use, (size,), np.uint8))  # type: ignore[arg-type]
    filled = 0
    while filled < size and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    return view[:filled]
