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

Each dimension of the tables has arrays of its own, and all of it is done for one after the other.
Two sets of arrays take turns, so there are two graphs. On the CPU the same work runs in the order
of the program, by Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.device_rows import DeviceRows, SlotsOnDevice, StagedRows
from fae_trainer.embedding.optimizers import NetworkOptimizer
from fae_trainer.model.cuda_graph import Beside, Graphs

#: Computes the mean loss from (label, weight, dense, vectors of each dimension), all on the device;
#: the weight may be None, which is 1.
Loss = Callable[[Tensor, Tensor | None, Tensor, Sequence[Tensor]], Tensor]

#: A batch's staged rows of each dimension.
Staged = tuple[StagedRows, ...]


@dataclass
class StepArrays:
    """The arrays that steps on batches of one size work on, and the graphs that do so.

    `ids` is how many a batch may have. `turn` is the one of `staged` whose batch is next; the other
    holds the batch before.
    """

    label: Tensor
    weight: Tensor | None
    dense: Tensor
    ids: int
    staged: tuple[Staged, Staged]
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
        groups: Sequence[DeviceRows],
        network: NetworkOptimizer,
        loss: Loss,
        samples: int,
        graph: bool = True,
    ) -> None:
        """Make a step; a graph holds those on batches of `samples`.

        `groups` are the rows of each dimension.
        """
        self.groups = groups
        self._device, self._dtype = groups[0].device, groups[0].dtype
        self._network = network
        self._loss = loss
        self._samples = samples
        self._graph = graph and self._device.type == "cuda"
        self._arrays: StepArrays | None = None
        self._staged_for: Batch | None = None
        self._is_newer = False  # whether the tables lack the last batch's cold rows
        self._beside = Beside(self._device)

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
            self._put(following, arrays.staged[1 - arrays.turn])
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
            self._write_back(self._arrays.staged[1 - self._arrays.turn])
            self._is_newer = False

    def forget(self) -> None:
        """Hold no row any more."""
        self._staged_for = None
        if self._arrays is not None:
            for turn in self._arrays.staged:
                for rows, staged in zip(self.groups, turn, strict=True):
                    staged.clear(rows)

    def _step_in_place(self, batch: Batch) -> Tensor:
        """Step on a batch of any size, reading and writing all rows where they lie."""
        self.write_back()
        self.forget()
        found = [find_vectors(rows, batch) for rows in self.groups]
        label, dense = batch.label.to(self._dtype), batch.dense.to(self._dtype)
        vectors = [each for _, each in found]
        loss, gradients = self._differentiate(label, batch.weight, dense, vectors)
        for rows, (slots, _), gradient in zip(self.groups, found, gradients, strict=True):
            rows.update(slots, gradient)
        self._network.update()
        return loss

    def _prepare_arrays(self, batch: Batch) -> StepArrays:
        """Return arrays that fit a full batch and have staged it."""
        arrays = self._arrays
        if arrays is None or not self._fits(arrays, batch):
            self.write_back()
            self._staged_for = None
            arrays = self._arrays = self._make_arrays(batch)
        if self._staged_for is not batch:
            self.write_back()
            self.forget()
            staged = arrays.staged[arrays.turn]
            self._put(batch, staged)
            self._stage(staged)
        return arrays

    def _make_arrays(self, batch: Batch) -> StepArrays:
        """Return arrays for batches like this one."""
        size = len(batch.ids)
        if batch.offsets is not None:  # any number of ids: leave room for more
            size = 1 << (2 * size).bit_length()

        def make_staged() -> Staged:
            parts = [(rows, rows.select(batch)) for rows in self.groups]
            return tuple(
                StagedRows(
                    rows,
                    part.ids if part.offsets is None else part.ids.new_empty(size),
                    part.offsets,
                )
                for rows, part in parts
            )

        return StepArrays(
            torch.empty_like(batch.label, dtype=self._dtype),
            None if batch.weight is None else torch.empty_like(batch.weight),
            torch.empty_like(batch.dense, dtype=self._dtype),
            size,
            (make_staged(), make_staged()),
            Graphs(self._graph, self._network.count_step),
        )

    def _fits(self, arrays: StepArrays, batch: Batch) -> bool:
        """Tell whether a batch fits the arrays."""
        exact = batch.offsets is None
        return len(batch) == self._samples and (
            len(batch.ids) == arrays.ids if exact else len(batch.ids) <= arrays.ids
        )

    def _put(self, batch: Batch, staged: Staged) -> None:
        """Set the ids of a batch in arrays, which `_stage` fills."""
        for rows, each in zip(self.groups, staged, strict=True):
            part = rows.select(batch)
            each.put(part.ids, part.offsets)

    def _stage(self, staged: Staged) -> None:
        """Read the cold rows of the ids that were put."""
        for rows, each in zip(self.groups, staged, strict=True):
            rows.stage(each)

    def _write_back(self, staged: Staged) -> None:
        """Write staged cold rows to the host's memory."""
        for rows, each in zip(self.groups, staged, strict=True):
            rows.write_back(each)

    def _compute(self, arrays: StepArrays) -> Tensor:
        """Step on the batch whose turn it is, while the second stream serves its neighbours."""
        current, other = arrays.staged[arrays.turn], arrays.staged[1 - arrays.turn]
        vectors = [
            split_by_sample(rows.look_up_staged(staged), self._samples)
            for rows, staged in zip(self.groups, current, strict=True)
        ]

        def serve_neighbours() -> None:
            self._write_back(other)
            self._stage(other)

        self._beside.start(serve_neighbours)
        loss, gradients = self._differentiate(arrays.label, arrays.weight, arrays.dense, vectors)
        self._beside.join()
        for rows, staged, gradient, following in zip(
            self.groups, current, gradients, other, strict=True
        ):
            rows.update_staged(staged, gradient, following)
        self._network.update()
        return loss

    def _differentiate(
        self, label: Tensor, weight: Tensor | None, dense: Tensor, vectors: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss and the vectors' gradients; set the gradients of the network."""
        for each in vectors:
            each.requires_grad_()
        loss = self._loss(label, weight, dense, vectors)
        return loss.detach(), self._network.differentiate(loss, vectors)


def find_vectors(rows: DeviceRows, batch: Batch) -> tuple[SlotsOnDevice, Tensor]:
    """Return a batch's slots and its vectors, (samples, features, dim), from where rows lie."""
    part = rows.select(batch)
    slots = rows.find_slots(part.ids, part.offsets)
    return slots, split_by_sample(rows.look_up(slots), len(batch))


def split_by_sample(vectors: Tensor, samples: int) -> Tensor:
    """Return the bags' vectors, (bags, dim), as (samples, features, dim)."""
    return vectors.view(samples, -1, vectors.shape[1])
