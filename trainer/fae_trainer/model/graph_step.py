"""A step on a full batch in arrays of fixed shapes, so that a CUDA graph holds it.

A GPU is done with a small batch before the host has launched its kernels one by one; a graph
launches them together. Nor does the host look for the distinct hot rows: the device sorts the slots
of a batch. How many rows are distinct differs from batch to batch, so their positions are filled up
with a spare row behind the hot ones, which no id means and whose gradient is zero, and the cold
rows lie in the first part of an array, of which there are a few sizes with a graph each. A graph
holds the whole step, from the sort to the update of the network. On the CPU the same arrays are
computed without a graph, which is how tests compare the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fae.format.errors import FaeError
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.optimizers import NetworkOptimizer
from fae_trainer.embedding.planner import Slots
from fae_trainer.embedding.tables import Tables

#: Ids in a batch above which launches no longer count, and the memory of fixed shapes would.
LARGEST = 1 << 21

#: The fewest cold rows that an array is made for, and how many times as many the next one holds.
_FEWEST, _TIMES = 256, 4

#: Steps on arrays of one size before a graph holds the next one; libraries set themselves up there.
_WARM_UP = 2

#: (label, dense, rows, inverse) → the mean loss, all on the device.
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class StepResult:
    """What a step finds: the loss, and the gradient of the cold rows."""

    loss: Tensor
    cold: Tensor


class GraphStep:
    """Learns from a batch; only its cold rows are updated outside of the graph."""

    def __init__(
        self,
        loss: Loss,
        tables: Tables,
        network: NetworkOptimizer,
        shape: tuple[int, int, int],
        rate: float,
    ) -> None:
        """A step for batches of `shape`: inputs, dense features and sparse features of one id."""
        inputs, dense, features = shape
        self._loss, self._tables, self._network, self._rate = loss, tables, network, rate
        self._spare = tables.layout.hot_total
        self._distinct = min(inputs * features, self._spare + 1)
        device, dtype = tables.device, tables.dtype
        self._label = torch.zeros(inputs, device=device, dtype=dtype)
        self._dense = torch.zeros((inputs, dense), device=device, dtype=dtype)
        slots = np.zeros(inputs * features, tables.layout.slot_type)
        self._slots = torch.from_numpy(slots).to(device)
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._cold: dict[int, Tensor] = {}  # by the number of rows
        self._steps: Counter[int] = Counter()  # and so are these and the graphs
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, StepResult]] = {}
        tables.padded_hot.rows[-1:].zero_()

    def fits(self, batch: Batch) -> bool:
        """Whether the batch is full, and all of its ids, one a feature, have one way to go."""
        full = len(batch) == len(self._label) and batch.offsets is None
        return full and (batch.hot or self._tables.splits_batches)

    def __call__(self, batch: Batch, slots: Slots) -> Tensor:
        """Learn from a batch; the mean loss before the update."""
        there = (self._label, self._dense, self._slots)
        here = (batch.label, batch.dense, torch.from_numpy(slots.slots))
        for array, values in zip(there, here, strict=True):
            array.copy_(values, non_blocking=True)
        rows = len(slots.cold)
        cold = self._tables.fetch(slots)
        room = self._cold_buffer(rows)
        room[:rows].copy_(cold.there)
        found = self._run(room)
        if rows:  # a copy, since the next step overwrites the gradient
            self._tables.update_cold(cold, found.cold[:rows].clone(), self._rate)
        return found.loss.clone()

    def _cold_buffer(self, rows: int) -> Tensor:
        """The smallest array for so many cold rows."""
        size = _FEWEST if rows else 0
        while size < rows:
            size *= _TIMES
        if size not in self._cold:
            self._cold[size] = self._label.new_zeros((size, self._tables.dim))
        return self._cold[size]

    def _run(self, cold: Tensor) -> StepResult:
        """What a step on the arrays finds, by the graph for so many cold rows on a GPU."""
        size = len(cold)
        self._steps[size] += 1
        if self._tables.device.type != "cuda" or self._steps[size] <= _WARM_UP:
            return self._compute(cold)
        if size in self._graphs:
            self._network.count_step()
        else:
            self._graphs[size] = self._capture(cold)
        graph, found = self._graphs[size]
        graph.replay()
        return found

    def _compute(self, cold: Tensor) -> StepResult:
        """What a step finds; the hot rows and the network are updated."""
        at, inverse = find_distinct(self._slots, self._spare, self._distinct)
        hot, shard = len(at), self._tables.padded_hot
        rows = torch.cat([shard.rows.index_select(0, at), cold]).requires_grad_()
        loss = self._loss(self._label, self._dense, rows, inverse)
        weights = self._network.weights
        gradient, *gradients = torch.autograd.grad(loss, [rows, *weights])
        own = shard.take(at, rows.detach()[:hot])
        shard.update(at, own, gradient[:hot], self._tables.optimizer, self._rate)
        for weight, its_gradient in zip(weights, gradients, strict=True):
            weight.grad = its_gradient
        self._network.update()
        return StepResult(loss.detach(), gradient[hot:])

    def _capture(self, cold: Tensor) -> tuple[torch.cuda.CUDAGraph, StepResult]:
        """The step in a graph, not run yet. Other threads go on meanwhile, apart from it.

        The graphs share memory, since what one finds is taken before the next one runs.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                found = self._compute(cold)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise FaeError(
                f"The step cannot be held in a CUDA graph ({reason}). Use --no-cuda-graph."
            ) from error
        return graph, found


def find_distinct(slots: Tensor, spare: int, size: int) -> tuple[Tensor, Tensor]:
    """The distinct hot rows, (size,), and for each slot its row's number: (n ids,).

    Hot rows, those below `spare`, ascend; behind them come the spare row, as often as there is
    room, and then the cold rows. All shapes are known beforehand, so nothing waits for the device.
    """
    ordered, order = slots.clamp(max=spare).sort()
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    number = begins.cumsum(0) - 1
    at = number.new_full((size,), spare).scatter_(0, number, ordered.long())
    inverse = torch.empty_like(number).scatter_(0, order, number)
    return at, torch.where(slots < spare, inverse, slots + (size - spare))
