"""A shard: the rows of one owner with their optimiser state, and copies of some of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.optimizers import RowOptimizer


@dataclass(frozen=True)
class Shard:
    """All rows of one owner and their optimiser state: (rows, dim) and (rows, state width)."""

    rows: Tensor
    state: Tensor

    @property
    def nbytes(self) -> int:
        """The bytes of rows and state."""
        return self.rows.nbytes + self.state.nbytes

    def part(self, start: int, stop: int) -> Shard:
        """The rows from `start` to before `stop`, in the same memory."""
        return Shard(self.rows[start:stop], self.state[start:stop])

    def take(self, other: Shard) -> None:
        """Copy every row and state of another shard of this size, wherever it lives."""
        self.rows.copy_(other.rows)
        self.state.copy_(other.state)

    def fetch(self, at: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The rows `at` of a shard on the host: its own copy, (n, dim), and the device's.

        The own copy is pinned where the device is CUDA, and the device's copy then on its way in
        the current stream.
        """
        pinned = device.type == "cuda"
        own = self.rows.new_empty((len(at), self.rows.shape[1]), pin_memory=pinned)
        torch.index_select(self.rows, 0, at, out=own)
        return own, own.to(device, non_blocking=True)

    def learn(
        self, at: Tensor, rows: Tensor, gradient: Tensor, optimizer: RowOptimizer, rate: float
    ) -> None:
        """Update the distinct rows `at`, whose values are `rows`, by their gradient."""
        rows, state = optimizer.rule(rows, self.state.index_select(0, at), gradient, rate)
        self.rows.index_copy_(0, at, rows)
        if optimizer.state_width:
            self.state.index_copy_(0, at, state)
