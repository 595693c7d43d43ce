"""Read and update the rows of one owner with their optimiser state."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fae_trainer.embedding.optimizers import RowOptimizer

#: Rows that one thread copies on the host; fewer take less time than handing them to a thread.
_ROWS_PER_THREAD = 16_384

_COPIERS = ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))), thread_name_prefix="rows")


@dataclass(frozen=True)
class Shard:
    """Rows and their optimiser state: (rows, dim) and (rows, state width).

    On the host, `packed`, (rows, dim + state width), is the memory of both, with each row's state
    behind its values: random row access is latency-bound, so both come with one access.
    """

    rows: Tensor
    state: Tensor
    packed: Tensor | None = None

    @classmethod
    def from_packed(cls, packed: Tensor, dim: int) -> Shard:
        """Return the shard of packed rows and states."""
        return cls(packed[:, :dim], packed[:, dim:], packed)

    @property
    def nbytes(self) -> int:
        """The bytes of rows and state."""
        return self.rows.nbytes + self.state.nbytes

    def slice(self, start: int, stop: int) -> Shard:
        """Return the rows from `start` to before `stop`, in the same memory."""
        packed = None if self.packed is None else self.packed[start:stop]
        return Shard(self.rows[start:stop], self.state[start:stop], packed)

    def copy_from(self, other: Shard) -> None:
        """Copy all rows and states of another shard of the same size, on any device."""
        self.rows.copy_(other.rows)
        self.state.copy_(other.state)

    def take(self, at: Tensor, rows: Tensor | None = None) -> Shard:
        """Return a copy of the rows `at` and their state; `rows` are their values if known."""
        if self.packed is not None:
            return self._copy(at)
        rows = self.rows.index_select(0, at) if rows is None else rows
        return Shard(rows, self.state.index_select(0, at))

    def fetch(self, at: Tensor, device: torch.device) -> tuple[Shard, Tensor]:
        """Return the rows `at` of a shard on the host as a copy there and one on the device.

        For a CUDA device the host's copy is pinned, and the device's, (n, dim), arrives in the
        order of the current stream.
        """
        own = self._copy(at, pinned=device.type == "cuda")
        if own.packed is None:
            return own, own.rows.to(device, non_blocking=True)
        return own, own.packed.to(device, non_blocking=True)[:, : self.rows.shape[1]]

    def update(
        self, at: Tensor, own: Shard, gradient: Tensor, optimizer: RowOptimizer, rate: float
    ) -> None:
        """Update the distinct rows `at` by their gradient; `own`, a copy of them, changes too."""
        optimizer.rule(own.rows, own.state, gradient, rate)
        if self.packed is not None and own.packed is not None:
            _write(self.packed, at, own.packed)
            return
        self.rows.index_copy_(0, at, own.rows)
        if optimizer.state_width:
            self.state.index_copy_(0, at, own.state)

    def _copy(self, at: Tensor, pinned: bool = False) -> Shard:
        """Return a copy of the rows `at` of a shard on the host."""
        values = self.rows if self.packed is None else self.packed
        own = values.new_empty((len(at), values.shape[1]), pin_memory=pinned)
        _read(values, at, own)
        if self.packed is not None:
            return Shard.from_packed(own, self.rows.shape[1])
        return Shard(own, self.state.index_select(0, at))


def _read(values: Tensor, at: Tensor, into: Tensor) -> None:
    """Copy the rows `at` of values on the host to `into`."""
    items, positions, copies = _as_items(values), at.numpy(), _as_items(into)

    def read(part: slice) -> None:
        # mode="clip" skips a second buffer that numpy keeps for numbers out of range.
        items.take(positions[part], out=copies[part], mode="clip")

    _run_in_threads(read, len(positions))


def _write(values: Tensor, at: Tensor, rows: Tensor) -> None:
    """Replace the distinct rows `at` of values on the host."""
    items, positions, copies = _as_items(values), at.numpy(), _as_items(rows)

    def write(part: slice) -> None:
        items[positions[part]] = copies[part]

    _run_in_threads(write, len(positions))


def _as_items(rows: Tensor) -> npt.NDArray[np.void]:
    """Return rows as a vector of opaque items, which numpy copies in a third of torch's time."""
    values: npt.NDArray[Any] = rows.numpy()
    return values.view(np.dtype((np.void, values.shape[1] * values.itemsize)))[:, 0]


def _run_in_threads(copy: Callable[[slice], None], rows: int) -> None:
    """Call `copy` for slices of so many rows, in threads if there are many; numpy drops the GIL."""
    parts = [slice(begin, begin + _ROWS_PER_THREAD) for begin in range(0, rows, _ROWS_PER_THREAD)]
    if len(parts) > 1:
        list(_COPIERS.map(copy, parts))
    elif parts:
        copy(parts[0])
