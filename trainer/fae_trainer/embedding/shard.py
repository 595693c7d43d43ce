"""The rows of one owner with their optimiser state, and memory that a CUDA device reads too."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fae.format.errors import FaeError

#: Rows that one thread copies on the host; fewer take less time than handing them to a thread.
_ROWS_PER_THREAD = 16_384

_THREADS = min(8, len(os.sched_getaffinity(0)))

#: cudaHostRegisterPortable | cudaHostRegisterMapped: for every context, and in the device's
#: address space.
_FLAGS = 3

_copiers = ThreadPoolExecutor(_THREADS, thread_name_prefix="rows")


def _start_copiers() -> None:
    """Give a forked process threads of its own: it has none of its parent's, and would wait."""
    global _copiers
    _copiers = ThreadPoolExecutor(_THREADS, thread_name_prefix="rows")


os.register_at_fork(after_in_child=_start_copiers)


@dataclass(frozen=True)
class Shard:
    """Rows with their optimiser state: `packed` is (rows, dim + state width).

    Each row's state lies behind its values: random access to rows is bound by latency, so both come
    with one access.
    """

    packed: Tensor
    dim: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.packed)

    @property
    def rows(self) -> Tensor:
        """The values, (rows, dim), in the shard's memory."""
        return self.packed[:, : self.dim]

    @property
    def state(self) -> Tensor:
        """The optimiser state, (rows, state width), in the shard's memory."""
        return self.packed[:, self.dim :]

    def slice(self, start: int, stop: int) -> Shard:
        """Return the rows from `start` to before `stop`, in the same memory."""
        return Shard(self.packed[start:stop], self.dim)

    def take(self, at: npt.NDArray[np.int64]) -> Shard:
        """Return a copy of the rows `at` on the host."""
        if self.packed.is_cuda:
            there = torch.from_numpy(at).to(self.packed.device)
            return Shard(self.packed.index_select(0, there).cpu(), self.dim)
        copy = self.packed.new_empty((len(at), self.packed.shape[1]))
        items, copies = _as_items(self.packed), _as_items(copy)

        def read(part: slice) -> None:
            # mode="clip" skips a second buffer that numpy keeps for numbers out of range.
            items.take(at[part], out=copies[part], mode="clip")

        _run_in_threads(read, len(at))
        return Shard(copy, self.dim)

    def put(self, at: npt.NDArray[np.int64], rows: Shard) -> None:
        """Replace the distinct rows `at` by rows on the host."""
        if self.packed.is_cuda:
            device = self.packed.device
            self.packed.index_copy_(0, torch.from_numpy(at).to(device), rows.packed.to(device))
            return
        items, new = _as_items(self.packed), _as_items(rows.packed)

        def write(part: slice) -> None:
            items[at[part]] = new[part]

        _run_in_threads(write, len(at))


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


def zeros_in_locked_pages(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return zeros on the host that a CUDA device can read and write."""
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    return torch.from_numpy(lock_pages(np.zeros(shape, kind)))


def _as_items(rows: Tensor) -> npt.NDArray[np.void]:
    """Return rows as a vector of opaque items, which numpy copies in a third of torch's time."""
    values: npt.NDArray[Any] = rows.numpy()
    return values.view(np.dtype((np.void, values.shape[1] * values.itemsize)))[:, 0]


def _run_in_threads(copy: Callable[[slice], None], rows: int) -> None:
    """Call `copy` for slices of so many rows, in threads if there are many; numpy drops the GIL."""
    parts = [slice(begin, begin + _ROWS_PER_THREAD) for begin in range(0, rows, _ROWS_PER_THREAD)]
    if len(parts) > 1:
        list(_copiers.map(copy, parts))
    elif parts:
        copy(parts[0])
