"""A shard: the rows of one owner with their optimiser state, and copies of some of them."""

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

#: Rows on the host that one thread reads or writes; starting another costs about as much.
_SHARE = 16_384

_COPIERS = ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))), thread_name_prefix="rows")


@dataclass(frozen=True)
class Shard:
    """Rows and their optimiser state: (rows, dim) and (rows, state width).

    `packed` is the memory of both where a row's state lies behind it, (rows, dim + state width): on
    the host most of the time of a random row goes by until its memory answers.
    """

    rows: Tensor
    state: Tensor
    packed: Tensor | None = None

    @classmethod
    def of(cls, packed: Tensor, dim: int) -> Shard:
        """The shard of rows and states in one memory."""
        return cls(packed[:, :dim], packed[:, dim:], packed)

    @property
    def nbytes(self) -> int:
        """The bytes of rows and state."""
        return self.rows.nbytes + self.state.nbytes

    def slice(self, start: int, stop: int) -> Shard:
        """The rows from `start` to before `stop`, in the same memory."""
        packed = None if self.packed is None else self.packed[start:stop]
        return Shard(self.rows[start:stop], self.state[start:stop], packed)

    def copy_from(self, other: Shard) -> None:
        """Copy every row and state of another shard of this size, wherever it lives."""
        self.rows.copy_(other.rows)
        self.state.copy_(other.state)

    def take(self, at: Tensor, rows: Tensor | None = None) -> Shard:
        """A copy of the rows `at` and their state; `rows` are their values where they are known."""
        if self.packed is not None:
            return self._copy(at)
        rows = self.rows.index_select(0, at) if rows is None else rows
        return Shard(rows, self.state.index_select(0, at))

    def fetch(self, at: Tensor, device: torch.device) -> tuple[Shard, Tensor]:
        """The rows `at` of a shard on the host: its own copy, and the device's, (n, dim).

        The own copy is pinned where the device is CUDA, and the device's copy then on its way in
        the current stream.
        """
        own = self._copy(at, pinned=device.type == "cuda")
        if own.packed is None:
            return own, own.rows.to(device, non_blocking=True)
        return own, own.packed.to(device, non_blocking=True)[:, : self.rows.shape[1]]

    def update(
        self, at: Tensor, own: Shard, gradient: Tensor, optimizer: RowOptimizer, rate: float
    ) -> None:
        """Update the distinct rows `at` by their gradient; `own` is a copy of them, and changes."""
        optimizer.rule(own.rows, own.state, gradient, rate)
        if self.packed is not None and own.packed is not None:
            _write(self.packed, at, own.packed)
            return
        self.rows.index_copy_(0, at, own.rows)
        if optimizer.state_width:
            self.state.index_copy_(0, at, own.state)

    def _copy(self, at: Tensor, pinned: bool = False) -> Shard:
        """A copy of the rows `at` of a shard on the host."""
        values = self.rows if self.packed is None else self.packed
        own = values.new_empty((len(at), values.shape[1]), pin_memory=pinned)
        _read(values, at, own)
        if self.packed is not None:
            return Shard.of(own, self.rows.shape[1])
        return Shard(own, self.state.index_select(0, at))


def _read(values: Tensor, at: Tensor, into: Tensor) -> None:
    """Copy the rows `at`, which exist, of values on the host."""
    whole, places, copies = _as_items(values), at.numpy(), _as_items(into)

    def read(part: slice) -> None:  # to clip what cannot be too large saves numpy a second copy
        whole.take(places[part], out=copies[part], mode="clip")

    _run_in_threads(read, len(places))


def _write(values: Tensor, at: Tensor, rows: Tensor) -> None:
    """Replace the distinct rows `at` of values on the host."""
    whole, places, copies = _as_items(values), at.numpy(), _as_items(rows)

    def write(part: slice) -> None:
        whole[places[part]] = copies[part]

    _run_in_threads(write, len(places))


def _as_items(rows: Tensor) -> npt.NDArray[np.void]:
    """Rows as items that are copied in one go: numpy does so, in a third of torch's time."""
    values: npt.NDArray[Any] = rows.numpy()
    return values.view(np.dtype((np.void, values.shape[1] * values.itemsize)))[:, 0]


def _run_in_threads(copy: Callable[[slice], None], rows: int) -> None:
    """Copy slices of so many rows, in threads where there are many; numpy lets them run at once."""
    parts = [slice(begin, begin + _SHARE) for begin in range(0, rows, _SHARE)]
    if len(parts) > 1:
        list(_COPIERS.map(copy, parts))
    elif parts:
        copy(parts[0])
