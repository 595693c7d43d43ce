"""Lock memory of the host in place, so that a CUDA device reads and writes it over the bus."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fae.format.errors import FaeError

#: cudaHostRegisterPortable | cudaHostRegisterMapped: for every context, and in the device's
#: address space.
_FLAGS = 3


def lock_pages(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `array` after locking its pages until it is deleted.

    A tensor made by `torch.from_numpy` keeps the array; a NumPy view does not. torch's own
    `pin_memory` would round large sizes up to the next power of two. Raises FaeError where the
    system refuses.
    """
    if array.nbytes:
        runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        code = int(runtime.cudaHostRegister(array.ctypes.data, array.nbytes, _FLAGS))
        if code:
            raise FaeError(
                f"CUDA cannot lock {array.nbytes:,} bytes of host memory for the cold rows (error "
                f"{code}); a container or the machine may limit it. Use --placement hybrid, where "
                "the host reads the rows, or gpu if all rows fit the device."
            )
        unlock = weakref.finalize(array, runtime.cudaHostUnregister, array.ctypes.data)
        unlock.atexit = False
    return array


def zeros_in_locked_pages(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return zeros on the host that a CUDA device can read and write."""
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    return torch.from_numpy(lock_pages(np.zeros(shape, kind)))
