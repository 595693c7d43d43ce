"""A shard: the rows of one owner with their optimiser state, and copies of some of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.optimizers import RowOptimizer


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

    def part(self, start: int, stop: int) -> Shard:
        """The rows from `start` to before `stop`, in the same memory."""
        packed = None if self.packed is None else self.packed[start:stop]
        return Shard(self.rows[start:stop], self.state[start:stop], packed)

    def take(self, other: Shard) -> None:
        """Copy every row and state of another shard of this size, wherever it lives."""
        self.rows.copy_(other.rows)
        self.state.copy_(other.state)

    def taken(self, at: Tensor, rows: Tensor | None = None) -> Shard:
        """A copy of the rows `at` and their state; `rows` are their values where they are known."""
        if self.packed is not None:
            return Shard.of(self.packed.index_select(0, at), self.rows.shape[1])
        rows = self.rows.index_select(0, at) if rows is None else rows
        return Shard(rows, self.state.index_select(0, at))

    def fetch(self, at: Tensor, device: torch.device) -> tuple[Shard, Tensor]:
        """The rows `at` of a shard on the host: its own copy, and the device's, (n, dim).

        The own copy is pinned where the device is CUDA, and the device's copy then on its way in
        the current stream.
        """
        pinned, dim = device.type == "cuda", self.rows.shape[1]
        values = self.rows if self.packed is None else self.packed
        own = values.new_empty((len(at), values.shape[1]), pin_memory=pinned)
        torch.index_select(values, 0, at, out=own)
        there = own.to(device, non_blocking=True)
        if self.packed is not None:
            return Shard.of(own, dim), there[:, :dim]
        return Shard(own, self.state.index_select(0, at)), there

    def learn(
        self, at: Tensor, own: Shard, gradient: Tensor, optimizer: RowOptimizer, rate: float
    ) -> None:
        """Update the distinct rows `at`, of which `own` is a copy, by their gradient."""
        rows, state = optimizer.rule(own.rows, own.state, gradient, rate)
        if self.packed is not None:
            self.packed.index_copy_(0, at, torch.cat([rows, state], dim=1))
            return
        self.rows.index_copy_(0, at, rows)
        if optimizer.state_width:
            self.state.index_copy_(0, at, state)
