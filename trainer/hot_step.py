"""A step on a full batch of hot rows in arrays of fixed shapes, so that one CUDA graph holds it.

A small batch keeps a GPU busy for less time than the host takes to launch its kernels one by one; a
graph launches them together. The number of distinct rows differs from batch to batch, so positions
are filled up with a spare row behind the hot ones, which no id means and whose gradient is zero.
On the CPU the same arrays are computed without a graph, which is how tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.errors import FaeError
from trainer.batches import Batch
from trainer.layout import Lookup
from trainer.tables import Tables

#: Ids in a batch above which launches no longer count, and filling up would.
LARGEST = 1 << 19

#: Runs before capture, in which libraries set themselves up.
_WARM_UP = 3

#: (label, dense, rows, inverse) → the mean loss, all on the device.
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class HotStep:
    """Gradients and updates a hot batch's rows; updating the network is left to the caller."""

    def __init__(
        self,
        loss: Loss,
        tables: Tables,
        weights: Sequence[torch.nn.Parameter],
        shape: tuple[int, int, int],
        rate: float,
    ) -> None:
        """A step for batches of `shape`: inputs, dense features and sparse features of one id."""
        inputs, dense, features = shape
        self._loss, self._tables, self._weights, self._rate = loss, tables, weights, rate
        self._spare = tables.layout.hot_total
        device, dtype = tables.device, tables.dtype
        self._label = torch.zeros(inputs, device=device, dtype=dtype)
        self._dense = torch.zeros((inputs, dense), device=device, dtype=dtype)
        self._inverse = torch.zeros(inputs * features, device=device, dtype=torch.int64)
        distinct = min(inputs * features, self._spare)
        self._at = torch.full((distinct,), self._spare, device=device, dtype=torch.int64)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._found: tuple[Tensor, list[Tensor]] | None = None
        tables.spared.rows[-1:].zero_()

    def fits(self, batch: Batch, lookup: Lookup) -> bool:
        """Whether the batch is full, of hot rows only and of one id a feature."""
        full = len(batch) == len(self._label) and lookup.offsets is None
        return full and not len(lookup.cold)

    def __call__(self, batch: Batch, lookup: Lookup) -> Tensor:
        """Update the batch's rows and leave the weights their gradients; the mean loss."""
        distinct = len(lookup.hot)
        self._at[distinct:].fill_(self._spare)
        for there, here in (
            (self._label, batch.label),
            (self._dense, batch.dense),
            (self._inverse, torch.from_numpy(lookup.inverse)),
            (self._at[:distinct], torch.from_numpy(lookup.hot)),
        ):
            there.copy_(here, non_blocking=True)
        if self._tables.device.type != "cuda":
            self._found = self._learned()
        else:
            if self._graph is None:
                self._capture()
            assert self._graph is not None
            self._graph.replay()
        assert self._found is not None
        loss, gradients = self._found
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        return loss.clone()

    def _learned(self) -> tuple[Tensor, list[Tensor]]:
        """The loss and the weights' gradients; the rows are updated."""
        loss, rows, (row_gradient, *gradients) = self._gradients()
        shard, optimizer = self._tables.spared, self._tables.optimizer
        shard.learn(self._at, rows, row_gradient, optimizer, self._rate)
        return loss, gradients

    def _gradients(self) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The loss, the rows, and the gradients of rows and weights; nothing is changed."""
        rows = self._tables.spared.rows.index_select(0, self._at).requires_grad_()
        loss = self._loss(self._label, self._dense, rows, self._inverse)
        gradients = torch.autograd.grad(loss, [rows, *self._weights])
        return loss.detach(), rows.detach(), gradients

    def _capture(self) -> None:
        """Record the graph. Other threads go on meanwhile, and their calls are none of it."""
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._gradients()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._found = self._learned()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise FaeError(
                f"The hot step cannot be held in a CUDA graph ({reason}). Use --no-cuda-graph."
            ) from error
        self._graph = graph
