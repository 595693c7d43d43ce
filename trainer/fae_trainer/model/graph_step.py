"""Step on full batches in arrays of fixed shapes, so that a CUDA graph can replay the step.

A GPU finishes a small batch before the host has launched its kernels one by one; a graph launches
them together. The host does not search for the distinct hot rows either: the device sorts the slots
of a batch. The number of distinct rows differs from batch to batch, so their positions are filled
up with a padding row behind the hot ones, which no id means and whose gradient is zero. The cold
rows are in the first part of a buffer, of which there are a few sizes with one graph each. A graph
contains the whole step, from the sort to the update of the network. On the CPU the same arrays are
computed without a graph, by which tests compare the two.
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

#: Ids in a batch above which launches cost little, and fixed shapes much memory.
MAX_IDS = 1 << 21

#: The rows of the smallest buffer of cold rows, and the ratio of each size to the next.
_MIN_COLD_ROWS, _SIZE_RATIO = 256, 4

#: Steps in each size before its graph is captured; libraries initialise themselves in them.
_WARM_UP_STEPS = 2

#: Computes the mean loss from (label, dense, rows, inverse), all on the device.
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class StepResult:
    """The loss of a step, and the gradient of the cold rows."""

    loss: Tensor
    cold: Tensor


class GraphStep:
    """A step on a batch; only its cold rows are updated outside the graph."""

    def __init__(
        self,
        loss: Loss,
        tables: Tables,
        network: NetworkOptimizer,
        shape: tuple[int, int, int],
        rate: float,
    ) -> None:
        """Make a step for batches of `shape`: samples, dense features, sparse features."""
        samples, dense, features = shape
        self._loss, self._tables, self._network, self._rate = loss, tables, network, rate
        self._padding = tables.layout.hot_total
        self._distinct = min(samples * features, self._padding + 1)
        device, dtype = tables.device, tables.dtype
        self._label = torch.zeros(samples, device=device, dtype=dtype)
        self._dense = torch.zeros((samples, dense), device=device, dtype=dtype)
        slots = np.zeros(samples * features, tables.layout.slot_type)
        self._slots = torch.from_numpy(slots).to(device)
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        # All by the number of rows of the buffer of cold rows.
        self._cold: dict[int, Tensor] = {}
        self._steps: Counter[int] = Counter()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, StepResult]] = {}
        tables.padded_hot.rows[-1:].zero_()

    def fits(self, batch: Batch) -> bool:
        """Tell whether the batch is full, with one id a feature and hot rows on the device."""
        full = len(batch) == len(self._label) and batch.offsets is None
        return full and (batch.hot or self._tables.splits_batches)

    def __call__(self, batch: Batch, slots: Slots) -> Tensor:
        """Update the model by a batch; return the mean loss before the update."""
        there = (self._label, self._dense, self._slots)
        here = (batch.label, batch.dense, torch.from_numpy(slots.slots))
        for array, values in zip(there, here, strict=True):
            array.copy_(values, non_blocking=True)
        rows = len(slots.cold)
        cold = self._tables.fetch(slots)
        buffer = self._cold_buffer(rows)
        buffer[:rows].copy_(cold.there)
        result = self._run(buffer)
        # Copies, because the next step overwrites both.
        if rows:
            self._tables.update_cold(cold, result.cold[:rows].clone(), self._rate)
        return result.loss.clone()

    def _cold_buffer(self, rows: int) -> Tensor:
        """Return the smallest buffer for so many cold rows."""
        size = _MIN_COLD_ROWS if rows else 0
        while size < rows:
            size *= _SIZE_RATIO
        if size not in self._cold:
            self._cold[size] = self._label.new_zeros((size, self._tables.dim))
        return self._cold[size]

    def _run(self, cold: Tensor) -> StepResult:
        """Step on the arrays; on a GPU by the graph for the size of the buffer of cold rows."""
        size = len(cold)
        self._steps[size] += 1
        if self._tables.device.type != "cuda" or self._steps[size] <= _WARM_UP_STEPS:
            return self._compute(cold)
        if size in self._graphs:
            self._network.count_step()
        else:
            self._graphs[size] = self._capture(cold)
        graph, result = self._graphs[size]
        graph.replay()
        return result

    def _compute(self, cold: Tensor) -> StepResult:
        """Compute a step on the arrays and update the hot rows and the network."""
        at, inverse = find_distinct(self._slots, self._padding, self._distinct)
        hot, shard = len(at), self._tables.padded_hot
        rows = torch.cat([shard.rows.index_select(0, at), cold]).requires_grad_()
        loss = self._loss(self._label, self._dense, rows, inverse)
        weights = self._network.weights
        gradient, *gradients = torch.autograd.grad(loss, [rows, *weights])
        own = shard.take(at, rows.detach()[:hot])
        shard.update(at, own, gradient[:hot], self._tables.optimizer, self._rate)
        for weight, weight_gradient in zip(weights, gradients, strict=True):
            weight.grad = weight_gradient
        self._network.update()
        return StepResult(loss.detach(), gradient[hot:])

    def _capture(self, cold: Tensor) -> tuple[torch.cuda.CUDAGraph, StepResult]:
        """Capture the step in a graph without running it; other threads are not affected.

        The graphs share memory, since a graph's results are copied before the next one runs.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = self._compute(cold)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise FaeError(
                f"Cannot capture the step in a CUDA graph ({reason}). Use --no-cuda-graph."
            ) from error
        return graph, result


def find_distinct(slots: Tensor, padding: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the distinct hot rows, (size,), and the number of each slot's row, (ids,).

    Hot rows, those below `padding`, ascend; the padding row fills the remaining places, and the
    cold rows are numbered after them. Shapes do not depend on values, so the host need not wait.
    """
    ordered, order = slots.clamp(max=padding).sort()
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    number = begins.cumsum(0) - 1
    at = number.new_full((size,), padding).scatter_(0, number, ordered.long())
    inverse = torch.empty_like(number).scatter_(0, order, number)
    return at, torch.where(slots < padding, inverse, slots + (size - padding))
