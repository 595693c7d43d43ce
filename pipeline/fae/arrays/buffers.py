"""Buffers: memory that a thread uses again, task after task.

The system clears fresh memory, which can take longer than the work that is done in it.
"""

from __future__ import annotations

import math
import threading
import weakref
from typing import IO, Any

import numpy as np
import numpy.typing as npt


class _Buffers(dict[str, npt.NDArray[np.uint8]]):
    """A thread's buffers by their use; a class of its own because a dict has no weak references."""


class _ThreadBuffers(threading.local):
    """The buffers of the current thread, which are also listed for `free_buffers`."""

    def __init__(self) -> None:
        self.buffers = _Buffers()
        _all_buffers[id(self.buffers)] = self.buffers


_all_buffers: weakref.WeakValueDictionary[int, _Buffers] = weakref.WeakValueDictionary()
_thread = _ThreadBuffers()


def reuse_buffer(use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array; this thread's next call with the same `use` overwrites it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = _thread.buffers.pop(use, None)
    if buffer is None or buffer.size < size:
        del buffer  # free it before allocating the larger one
        buffer = np.empty(size, dtype=np.uint8)
    _thread.buffers[use] = buffer
    return buffer[:size].view(dtype).reshape(shape)


def free_buffers() -> None:
    """Free the buffers of all threads of this process."""
    for buffers in list(_all_buffers.values()):
        buffers.clear()


def read_into_buffer(file: IO[bytes], use: str, size: int) -> memoryview:
    """Read up to `size` bytes of a file from its position on into the thread's buffer for `use`."""
    view = memoryview(reuse_buffer(use, (size,), np.uint8))  # type: ignore[arg-type]
    filled = 0
    while filled < size and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    return view[:filled]
