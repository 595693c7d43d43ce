"""Buffers: memory that a thread uses again, task after task.

The system clears fresh memory, which can take longer than the work that is done in it.
"""

from __future__ import annotations

import ctypes
import math
from threading import get_ident
from typing import IO, Any

import numpy as np
import numpy.typing as npt

#: Buffers by the identifier of their thread and by their use. A new thread may get the identifier
#: of one that has ended, and then uses its buffers.
_buffers: dict[tuple[int, str], npt.NDArray[np.uint8]] = {}


def reuse_buffer(use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array; this thread's next call with the same `use` overwrites it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = _buffers.pop((get_ident(), use), None)
    if buffer is None or buffer.size < size:
        del buffer  # free it before allocating the larger one
        buffer = np.empty(size, dtype=np.uint8)
    _buffers[get_ident(), use] = buffer
    return buffer[:size].view(dtype).reshape(shape)


def free_buffers() -> None:
    """Free the buffers of all threads of this process."""
    _buffers.clear()


def return_free_memory() -> None:
    """Give memory that was freed, and that the allocator keeps, back to the system."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def shrink(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return the first `size` items, in the array's own memory, whose rest is freed.

    Nothing else may use the array or a view of it from then on.
    """
    if not array.flags.owndata:  # memory that a kernel allocated
        return array[:size].copy()
    array.resize(size, refcheck=False)
    return array


def read_into_buffer(file: IO[bytes], use: str, size: int) -> memoryview:
    """Read up to `size` bytes of a file from its position on into the thread's buffer for `use`."""
    view = memoryview(reuse_buffer(use, (size,), np.uint8))  # type: ignore[arg-type]
    filled = 0
    while filled < size and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    return view[:filled]
