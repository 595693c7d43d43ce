"""Step on the devices of one machine, one process each, on parts of the same batch.

Every process has all hot rows on its device, and reads any cold row in memory that they share. All
processes learn the slots and the gradients of the whole batch, in its order. So each updates its
copy of the hot rows, and the cold rows that it owns, as one process would: copies stay bit for bit
equal, and a cold row is written by its owner alone. The sum of the networks' gradients follows the
update on the same stream, so no process reads a cold row of the next batch before its owner has
written it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.device_rows import DeviceRows, SlotsOnDevice
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.optimizers import NetworkOptimizer
from fae_trainer.model.cuda_graph import Graphs
from fae_trainer.model.device_step import Loss, find_vectors


class RankedStep:
    """A step on this process's part of a batch; all processes take it together."""

    def __init__(
        self,
        groups: Sequence[DeviceRows],
        network: NetworkOptimizer,
        loss: Loss,
        ranks: Ranks,
        samples: int,
        graph: bool = True,
    ) -> None:
        """Make a step; a graph holds those on batches of `samples` that all ranks share evenly.

        `groups` are the rows of each dimension.
        """
        self.groups = groups
        self._network = network
        self._loss = loss
        self._ranks = ranks
        self._graph_samples = samples if samples % ranks.size == 0 else 0
        self._graphs = Graphs(graph and groups[0].device.type == "cuda", network.count_step)
        self._part: Batch | None = None

    def __call__(self, part: Batch, samples: int) -> Tensor:
        """Update the model by a batch of `samples`, of which `part` is this process's.

        Return the mean loss before the update.
        """
        if samples != self._graph_samples or part.offsets is not None or part.weight is not None:
            return self._compute(part, samples)
        if self._part is None:
            copies = (part.label.clone(), part.dense.clone(), part.ids.clone())
            self._part = Batch(*copies, offsets=None, hot=False)
        fixed = self._part
        fixed.label.copy_(part.label)
        fixed.dense.copy_(part.dense)
        fixed.ids.copy_(part.ids)
        return self._graphs.run(0, lambda: self._compute(fixed, samples)).clone()

    def _compute(self, part: Batch, samples: int) -> Tensor:
        sizes, dtype = self._ranks.part_sizes(samples), self.groups[0].dtype
        found = [find_vectors(rows, part) for rows in self.groups]
        vectors = [each.requires_grad_() for _, each in found]
        label, dense = part.label.to(dtype), part.dense.to(dtype)
        share = sizes[self._ranks.rank] / samples
        loss = self._loss(label, part.weight, dense, vectors) * share
        of_vectors = self._network.differentiate(loss, vectors)
        for rows, (slots, _), gradient in zip(self.groups, found, of_vectors, strict=True):
            rows.update(*self._gather_all(slots, gradient, sizes))
        loss = loss.detach()
        self._ranks.all_reduce([loss, *self._network.gradients])
        self._network.update()
        return loss

    def _gather_all(
        self, slots: SlotsOnDevice, gradient: Tensor, sizes: list[int]
    ) -> tuple[SlotsOnDevice, Tensor]:
        """Return the slots and the bags' gradients of all ranks' parts of the batch, (bags, dim).

        A rank without samples steps on one that does not count.
        """
        ranks, (_, features, dim) = self._ranks, gradient.shape
        bag_counts = [size * features for size in sizes]
        vectors = gradient.reshape(-1, dim)
        all_vectors = torch.cat(ranks.all_gather(vectors, bag_counts))
        if slots.bags is None:
            every = torch.cat(ranks.all_gather(slots.slots, bag_counts))
            return SlotsOnDevice(every, None, None, len(every)), all_vectors
        counts = ranks.all_gather_count(len(slots.slots) if sizes[ranks.rank] else 0)
        every = torch.cat(ranks.all_gather(slots.slots, counts))
        firsts = itertools.accumulate(bag_counts[:-1], initial=0)
        parts = zip(ranks.all_gather(slots.bags, counts), firsts, strict=True)
        bags = torch.cat([part + first for part, first in parts])
        return SlotsOnDevice(every, bags, None, len(all_vectors)), all_vectors
