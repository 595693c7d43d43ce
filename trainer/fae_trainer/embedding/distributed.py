"""Ranks: the processes that train one model together, each on its part of every batch.

A batch is the one of a run in one process, cut into consecutive parts, one a rank, and a rank's
loss counts by its part's share of the inputs. So losses and gradients summed over ranks are those
of the whole batch: the number of ranks changes nothing but the order in which numbers are added.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fae.format.errors import FaeError, ParameterError
from fae_trainer.data.batches import Batch


@dataclass(frozen=True)
class Ranks:
    """One process among `size`. All of them must call what exchanges, in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def part_sizes(self, inputs: int) -> list[int]:
        """The inputs of each rank's part of a batch of `inputs`; they differ by one at most."""
        ends = [inputs * one // self.size for one in range(self.size + 1)]
        return [stop - start for start, stop in itertools.pairwise(ends)]

    def local_part(self, batch: Batch) -> Batch:
        """The rank's inputs; where it has none, one of the batch, which weighs nothing."""
        if self.size == 1:
            return batch
        start, stop = (len(batch) * one // self.size for one in (self.rank, self.rank + 1))
        return batch.slice(start, stop) if start < stop else batch.slice(0, 1)

    def share(self, batch: Batch) -> float:
        """The share of the batch's inputs that are the rank's."""
        return self.part_sizes(len(batch))[self.rank] / len(batch)

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their sums over ranks, the same bits on every rank."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def all_gather(self, values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Each rank's first `sizes[rank]` rows of `values`, for all ranks."""
        padded = values.new_zeros((max(sizes), *values.shape[1:]))
        own = sizes[self.rank]
        padded[:own] = values[:own]
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        return [one[:size] for one, size in zip(found, sizes, strict=True)]

    def counts(self, own: int) -> list[int]:
        """Every rank's number."""
        found = [torch.empty(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(found, torch.tensor([own]))
        return torch.cat(found).tolist()

    def all_to_all(self, values: Tensor, given: Sequence[int], taken: Sequence[int]) -> Tensor:
        """Rows on the host, `given[r]` of them for rank r; back come `taken[r]` from rank r."""
        found = values.new_empty((sum(taken), *values.shape[1:]))
        dist.all_to_all_single(found, values.contiguous(), list(taken), list(given))
        return found

    def gather_to_first(self, pieces: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Each rank's rows on the host, on the first rank; on the others an empty list."""
        if not self.first:
            dist.send(pieces.contiguous(), 0)
            return []
        found = [pieces]
        for rank in range(1, self.size):
            piece = pieces.new_empty((sizes[rank], *pieces.shape[1:]))
            dist.recv(piece, rank)
            found.append(piece)
        return found

    def check_same(self, given: Mapping[str, Any]) -> None:
        """Raise ParameterError on all ranks where they differ in what they were given."""
        if self.size == 1:
            return
        found: list[Mapping[str, Any]] = [{}] * self.size
        dist.all_gather_object(found, dict(given))
        for name in given:
            values = [str(one[name]) for one in found]
            if len(set(values)) > 1:
                raise ParameterError(
                    f"The processes differ in {name}: {', '.join(values)}. Give each the same "
                    "arguments, data set and run, and no machine more processes than GPUs."
                )


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """The ranks that torchrun started this process among; one alone where it was not torchrun.

    A process group that is there already is used as it is. Otherwise each process sees one GPU, its
    own, and exchanges host memory by gloo and GPU memory by NCCL. Raises FaeError in those that are
    left where a process ends.
    """
    if dist.is_available() and dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible is not None else [str(one) for one in range(local + 1)]
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[local] if local < len(devices) else ""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    try:
        yield Ranks(dist.get_rank(), size)
    except RuntimeError as error:
        if "gloo" not in str(error) and not isinstance(error, dist.DistError):
            raise
        reason = str(error).splitlines()[0].split(". ")[0]
        raise FaeError(
            f"The processes lost each other ({reason}). See what the first to end has said. "
            "The last checkpoint remains."
        ) from error
    finally:
        dist.destroy_process_group()


def sum_by_row(pieces: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The distinct rows of pieces (rows, gradients), ascending, and the sum of their gradients.

    Rows are distinct within a piece. Pieces are added in their order, so that the sums are the same
    bits wherever they are made.
    """
    pieces = list(pieces)
    distinct, number = torch.unique(torch.cat([rows for rows, _ in pieces]), return_inverse=True)
    total = pieces[0][1].new_zeros((len(distinct), pieces[0][1].shape[1]))
    places = torch.split(number, [len(rows) for rows, _ in pieces])
    for at, (_, gradient) in zip(places, pieces, strict=True):
        total.index_add_(0, at, gradient)
    return distinct, total
