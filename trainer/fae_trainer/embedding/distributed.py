"""Train one model in several processes, each of which steps on its part of every batch.

Batches are those of a run in one process, cut into consecutive parts, one for each rank. A rank's
loss is weighted by its share of the batch's samples, so losses and gradients summed over ranks are
those of the whole batch: the number of ranks only changes the order in which numbers are added.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fae.format.errors import FaeError, ParameterError
from fae_trainer.data.batches import Batch
from fae_trainer.data.pending import cut_part

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """One process among `size`. All of them must make the exchanging calls, in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def part_sizes(self, samples: int) -> list[int]:
        """Return the sizes of the ranks' parts of a batch; they differ by one at most."""
        ends = [samples * rank // self.size for rank in range(self.size + 1)]
        return [stop - start for start, stop in itertools.pairwise(ends)]

    def local_part(self, batch: Batch) -> Batch:
        """Return this rank's part; if that is empty, one sample of the batch, with share 0."""
        if self.size == 1 or batch.part_of is not None:
            return batch
        return batch.slice(*cut_part(len(batch), self.rank, self.size))

    def share(self, batch: Batch) -> float:
        """Return this rank's share of the batch's samples."""
        return self.part_sizes(batch.samples)[self.rank] / batch.samples

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their sums over ranks, bit for bit equal on all ranks."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def all_gather(self, values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return each rank's first `sizes[rank]` rows of `values`, on all ranks."""
        padded = values.new_zeros((max(sizes), *values.shape[1:]))
        own = sizes[self.rank]
        padded[:own] = values[:own]
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return [rows[:size] for rows, size in zip(gathered, sizes, strict=True)]

    def all_gather_count(self, own: int) -> list[int]:
        """Return every rank's count."""
        counts = [torch.empty(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([own]))
        return torch.cat(counts).tolist()

    def all_to_all(self, values: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Send `sent[r]` rows on the host to each rank r; return `received[r]` rows from each."""
        rows = values.new_empty((sum(received), *values.shape[1:]))
        dist.all_to_all_single(rows, values.contiguous(), list(received), list(sent))
        return rows

    def gather_to_first(self, pieces: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return each rank's rows on the host to the first rank; others get an empty list."""
        if not self.is_first:
            dist.send(pieces.contiguous(), 0)
            return []
        gathered = [pieces]
        for rank in range(1, self.size):
            piece = pieces.new_empty((sizes[rank], *pieces.shape[1:]))
            dist.recv(piece, rank)
            gathered.append(piece)
        return gathered

    def gather_objects(self, value: Any) -> list[Any]:
        """Return each rank's value, on all ranks."""
        gathered = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(gathered, value)
        return gathered

    def broadcast(self, value: T) -> T:
        """Return the first rank's value on all ranks."""
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def wait_for_all(self, device: torch.device) -> None:
        """Wait until all ranks are here and their devices have done what they were given."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        dist.all_reduce(torch.zeros(1))  # on the hosts

    @property
    def size_here(self) -> int:
        """How many ranks run on this machine, as far as torchrun says."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.size > 1 else 1

    @property
    def on_one_machine(self) -> bool:
        """Whether all ranks run on this machine."""
        return self.size_here == self.size

    def check_same(self, values: Mapping[str, Any]) -> None:
        """Raise ParameterError on all ranks where they differ in one of the named values."""
        gathered = self.gather_objects(dict(values))
        for name in values:
            by_rank = [str(each[name]) for each in gathered]
            if len(set(by_rank)) > 1:
                raise ParameterError(
                    f"The processes differ in {name}: {', '.join(by_rank)}. Give all of them the "
                    "same arguments, data set and run, and start at most one per GPU."
                )


#: One process, which trains by itself.
ALONE = Ranks()


def find_ranks() -> Ranks:
    """Return this process's rank in the process group that exists, or a single rank."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return ALONE


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Yield this process's rank among those that torchrun started, or a single rank without it.

    An existing process group is used as it is. Otherwise each process sees only its own GPU, and
    exchanges host memory by gloo and GPU memory by NCCL. Raises FaeError in the remaining processes
    where one ends.
    """
    if dist.is_available() and dist.is_initialized():
        yield find_ranks()
        return
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = (
        visible.split(",") if visible is not None else [str(number) for number in range(local + 1)]
    )
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
            f"The connection to another process is lost ({reason}). See the error of the process "
            "that ended first. The last checkpoint, if any, is kept."
        ) from error
    finally:
        dist.destroy_process_group()


def sum_by_row(pieces: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of pieces (rows, gradients), ascending, and their summed gradients.

    Rows are distinct within a piece. Pieces are added in order, so the sums are bit for bit equal
    wherever they are computed.
    """
    pieces = list(pieces)
    distinct, number = torch.unique(torch.cat([rows for rows, _ in pieces]), return_inverse=True)
    total = pieces[0][1].new_zeros((len(distinct), pieces[0][1].shape[1]))
    positions = torch.split(number, [len(rows) for rows, _ in pieces])
    for at, (_, gradient) in zip(positions, pieces, strict=True):
        total.index_add_(0, at, gradient)
    return distinct, total
