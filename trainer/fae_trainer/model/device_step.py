"""Step on the device alone, so that a CUDA graph can replay the whole step.

A step looks up a batch's rows, runs the network forwards and backwards, and updates rows and
network. Meanwhile, on a second stream, the cold rows of the batch before are written back to the
host's memory, and those of the next batch are read from it: neither the bus nor the sort of the
next batch's slots holds the network up.

That is exact, and no race is possible:

- Between the fork and the join, the first stream reads what the second leaves alone: this batch's
  arrays and the hot rows. The second stream alone touches the host's memory and the other arrays.
- The second stream writes the last batch's rows back before it reads the next one's.
- The rows of this batch change after the join, in its arrays; where the next batch has read the
  same row too early, the update replaces its copy there.
- Steps follow each other on one stream.

Two sets of arrays take turns, so there are two graphs. On the CPU the same work runs in the order
of the program, by Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.device_rows import DeviceRows, StagedRows
from fae_trainer.embedding.optimizers import NetworkOptimizer
from fae_trainer.model.cuda_graph import Beside, Graphs

#: Computes the mean loss from (label, weight, dense, vectors), all on the device; the weight may be
#: None, which is 1.
Loss = Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]


@dataclass
class StepArrays:
    """The arrays that steps on batches of one size work on, and the graphs that do so.

    `turn` is the one of `staged` whose batch is next; the other holds the batch before.
    """

    label: Tensor
    weight: Tensor | None
    dense: Tensor
    staged: tuple[StagedRows, StagedRows]
    graphs: Graphs
    turn: int = 0


class DeviceStep:
    """A step on a batch that is on the device, like the rows and the network.

    It is the tables' staging: the last batch's cold rows are here until they are written back.
    """

    #: Whether cold rows are read and written beside the network; else a step waits for both.
    reads_ahead = True

    def __init__(
        self,
        rows: DeviceRows,
        network: NetworkOptimizer,
        loss: Loss,
        samples: int,
        graph: bool = True,
    ) -> None:
        """Make a step; a graph holds those on batches of `samples`."""
        self.rows = rows
        self._network = network
        self._loss = loss
        self._samples = samples
        self._graph = graph and rows.device.type == "cuda"
        self._arrays: StepArrays | None = None
        self._staged_for: Batch | None = None
        self._is_newer = False  # whether the tables lack the last batch's cold rows
        self._beside = Beside(rows.device)

    def __call__(self, batch: Batch, following: Batch | None) -> Tensor:
        """Update the model by a batch; return the mean loss before the update.

        `following` is the batch of the next call, as far as it is known.
        """
        if len(batch) != self._samples or not self.reads_ahead:
            return self._step_in_place(batch)
        arrays = self._prepare_arrays(batch)
        if following is not None and not self._fits(arrays, following):
            following = None
        if following is not None:
            arrays.staged[1 - arrays.turn].put(following.ids, following.offsets)
        arrays.label.copy_(batch.label)
        arrays.dense.copy_(batch.dense)
        if arrays.weight is not None and batch.weight is not None:
            arrays.weight.copy_(batch.weight)
        loss = arrays.graphs.run(arrays.turn, lambda: self._compute(arrays))
        arrays.turn = 1 - arrays.turn
        self._staged_for, self._is_newer = following, True
        return loss.clone()  # the next step overwrites it

    def write_back(self) -> None:
        """Write the last batch's cold rows to the host's memory."""
        if self._arrays is not None and self._is_newer:
            self.rows.write_back(self._arrays.staged[1 - self._arrays.turn])
            self._is_newer = False

    def forget(self) -> None:
        """Hold no row any more."""
        self._staged_for = None
        if self._arrays is not None:
            for staged in self._arrays.staged:
                staged.clear(self.rows)

    def _step_in_place(self, batch: Batch) -> Tensor:
        """Step on a batch of any size, reading and writing all rows where they lie."""
        self.write_back()
        self.forget()
        slots = self.rows.find_slots(batch.ids, batch.offsets)
        vectors = self._reshape(self.rows.look_up(slots), len(batch))
        label, dense = batch.label.to(vectors.dtype), batch.dense.to(vectors.dtype)
        loss, gradient = self._differentiate(label, batch.weight, dense, vectors)
        self.rows.update(slots, gradient)
        self._network.update()
        return loss

    def _prepare_arrays(self, batch: Batch) -> StepArrays:
        """Return arrays that fit a full batch and have staged it."""
        arrays = self._arrays
        if arrays is None or not self._fits(arrays, batch):
            self.write_back()
            self._staged_for = None
            ids = batch.ids
            if batch.offsets is not None:  # any number of ids: leave room for more
                ids = ids.new_empty(1 << (2 * len(ids)).bit_length())
            one, two = (StagedRows(self.rows, ids, batch.offsets) for _ in range(2))
            arrays = self._arrays = StepArrays(
                torch.empty_like(batch.label, dtype=self.rows.dtype),
                None if batch.weight is None else torch.empty_like(batch.weight),
                torch.empty_like(batch.dense, dtype=self.rows.dtype),
                (one, two),
                Graphs(self._graph, self._network.count_step),
            )
        if self._staged_for is not batch:
            self.write_back()
            self.forget()
            staged = arrays.staged[arrays.turn]
            staged.put(batch.ids, batch.offsets)
            self.rows.stage(staged)
        return arrays

    def _fits(self, arrays: StepArrays, batch: Batch) -> bool:
        """Tell whether a batch fits the arrays."""
        size = arrays.staged[0].count
        exact = batch.offsets is None
        return len(batch) == self._samples and (
            len(batch.ids) == size if exact else len(batch.ids) <= size
        )

    def _compute(self, arrays: StepArrays) -> Tensor:
        """Step on the batch whose turn it is, while the second stream serves its neighbours."""
        rows = self.rows
        current, other = arrays.staged[arrays.turn], arrays.staged[1 - arrays.turn]
        vectors = self._reshape(rows.look_up_staged(current), self._samples)

        def serve_neighbours() -> None:
            rows.write_back(other)
            rows.stage(other)

        self._beside.start(serve_neighbours)
        loss, gradient = self._differentiate(arrays.label, arrays.weight, arrays.dense, vectors)
        self._beside.join()
        rows.update_staged(current, gradient, other)
        self._network.update()
        return loss

    def _differentiate(
        self, label: Tensor, weight: Tensor | None, dense: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the vectors' gradient; set the gradients of the network."""
        vectors.requires_grad_()
        loss = self._loss(label, weight, dense, vectors)
        return loss.detach(), self._network.differentiate(loss, vectors)

    def _reshape(self, vectors: Tensor, samples: int) -> Tensor:
        """Return the bags' vectors, (bags, dim), as (samples, features, dim)."""
        return vectors.view(samples, -1, self.rows.dim)
