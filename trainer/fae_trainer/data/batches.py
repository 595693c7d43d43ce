"""Batches: samples of one temperature as tensors, and how they are laid out, gathered and cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fae.format.manifest import Features

Ints = npt.NDArray[np.int64]

#: Returns uninitialised host memory of so many bytes, as a tensor of bytes.
Allocate = Callable[[int], Tensor]

#: Every array of a buffer starts at a multiple of so many bytes.
ALIGNMENT_BYTES = 16


@dataclass(frozen=True)
class Batch:
    """Samples of one temperature; `hot` says that they touch hot rows only.

    `label` is (batch,) of 0 and 1, `dense` is (batch, dense features), both float32. `ids` holds
    the ids of all samples' features, samples outermost. Where every feature has one id, `ids` is
    (batch * features,) and `offsets` is None. Otherwise the ids of feature f of sample i start at
    `offsets[i * features + f]` and end before the next offset; `offsets` is
    (batch * features + 1,). Both are int32 if every id fits, else int64.

    Where the data set has weights, or rows without a label, `weight`, (batch,) float32, multiplies
    each sample's loss; without a label it is 0.

    Where `buffer` is given, all tensors are views of it (see `BatchShape`), and one copy of the
    buffer copies the batch. Where `part_of` is given, the batch is one process's part of a batch of
    so many samples. A loader's batch has `columns`, the names of the data set's columns, and
    `after`, from which the loader's `state_dict` knows the batches that come after it.
    """

    label: Tensor
    dense: Tensor
    ids: Tensor
    offsets: Tensor | None
    hot: bool
    buffer: Tensor | None = None
    part_of: int | None = None
    weight: Tensor | None = None
    columns: Features | None = None
    after: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.label)

    def __getitem__(self, name: str) -> Tensor | tuple[Tensor, Tensor]:
        """Return a column: (batch,) of the label, the weight, a dense feature or a feature's ids.

        Of a feature of lists it is the ids of all samples and where each sample's begin, (batch +
        1,), as `nn.EmbeddingBag` takes them with `include_last_offset`. Raises KeyError where there
        is none.
        """
        from fae_trainer.data.bags import find_column  # which needs this module

        return find_column(self, name)

    def to_kjt(self) -> Any:
        """Return the ids as TorchRec's KeyedJaggedTensor, on their device, without weights.

        Raises ParameterError where TorchRec is not installed.
        """
        from fae_trainer.data.bags import make_keyed  # which needs this module

        return make_keyed(self)

    def __repr__(self) -> str:
        kind = "one id each" if self.offsets is None else f"{len(self.ids):,} ids"
        return (
            f"Batch({len(self):,} {'hot' if self.hot else 'cold'} samples, "
            f"{self.dense.shape[1]} dense and {self.features} sparse features, {kind}, "
            f"on {self.label.device})"
        )

    @property
    def samples(self) -> int:
        """The number of samples of the whole batch that all processes share."""
        return len(self) if self.part_of is None else self.part_of

    @property
    def features(self) -> int:
        """The number of sparse features."""
        bags = len(self.ids) if self.offsets is None else len(self.offsets) - 1
        return bags // max(len(self), 1)

    @property
    def shape(self) -> BatchShape:
        """The sizes of all arrays."""
        bounds = 0 if self.offsets is None else len(self.offsets)
        sizes = (len(self), self.dense.shape[1], len(self.ids), bounds)
        return BatchShape(*sizes, self.ids.dtype, self.weight is not None)

    def slice(self, start: int, stop: int) -> Batch:
        """Return the samples from `start` to before `stop`, as views of this batch's tensors."""
        first, last = start * self.features, stop * self.features
        if self.offsets is None:
            return self.cut(start, stop, first, last)
        return self.cut(start, stop, int(self.offsets[first]), int(self.offsets[last]))

    def cut(self, start: int, stop: int, begin: int, end: int) -> Batch:
        """Return what `slice` does, given that the samples' ids are those from `begin` to `end`."""
        offsets = None
        if self.offsets is not None:
            offsets = self.offsets[start * self.features : stop * self.features + 1] - begin
        label, dense = self.label[start:stop], self.dense[start:stop]
        weight = None if self.weight is None else self.weight[start:stop]
        ids, columns = self.ids[begin:end], self.columns
        return Batch(label, dense, ids, offsets, self.hot, weight=weight, columns=columns)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device; a batch with a buffer takes one copy."""
        if self.buffer is not None:
            buffer = self.buffer.to(device, non_blocking=non_blocking)
            if buffer is self.buffer:
                return self
            return self._view(buffer)
        return self._map(lambda values: values.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch with its host tensors in page-locked memory, which a GPU can read."""
        if self.buffer is not None and not self.buffer.is_cuda:
            return self._view(self.buffer.pin_memory())
        return self._map(lambda values: values if values.is_cuda else values.pin_memory())

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Have the allocator keep the batch's memory until the stream's work so far is done."""
        tensors = (self.label, self.dense, self.ids, self.offsets, self.weight)
        for tensor in tensors if self.buffer is None else (self.buffer,):
            if tensor is not None:
                tensor.record_stream(stream)

    def _view(self, buffer: Tensor) -> Batch:
        """Return the batch whose arrays lie in a copy of its buffer."""
        there = self.shape.view(buffer, self.hot)
        return replace(there, part_of=self.part_of, columns=self.columns, after=self.after)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        offsets = None if self.offsets is None else change(self.offsets)
        label, dense, ids = change(self.label), change(self.dense), change(self.ids)
        weight = None if self.weight is None else change(self.weight)
        return replace(self, label=label, dense=dense, ids=ids, offsets=offsets, weight=weight)


@dataclass(frozen=True)
class BatchShape:
    """The sizes of a batch's arrays, in one buffer: ids, label, dense, offsets, weight.

    `bounds` is the length of the offsets, or 0 where every feature has one id.
    """

    samples: int
    dense: int
    ids: int
    bounds: int
    id_type: torch.dtype
    weighted: bool = False

    @property
    def bytes(self) -> int:
        """The size of the buffer."""
        return self._starts()[-1]

    def view(self, buffer: Tensor, hot: bool) -> Batch:
        """Return the batch whose arrays lie in `buffer`, of at least `bytes` bytes."""
        ids, label, dense, offsets, weight, _ = self._starts()
        wide = self.id_type.itemsize
        floats = buffer[label : dense + 4 * self.samples * self.dense].view(torch.float32)
        there = (dense - label) // 4
        bounds = None
        if self.bounds:
            bounds = buffer[offsets : offsets + self.bounds * wide].view(self.id_type)
        return Batch(
            floats[: self.samples],
            floats[there:].view(self.samples, self.dense),
            buffer[ids : ids + self.ids * wide].view(self.id_type),
            bounds,
            hot,
            buffer,
            weight=(
                buffer[weight : weight + 4 * self.samples].view(torch.float32)
                if self.weighted
                else None
            ),
        )

    def _starts(self) -> tuple[int, int, int, int, int, int]:
        """Return the byte at which each array starts, and the end of the last."""
        wide, starts = self.id_type.itemsize, [0]
        for size in (
            self.ids * wide, self.samples * 4, self.samples * self.dense * 4,
            self.bounds * wide, self.samples * 4 * self.weighted,
        ):  # fmt: skip
            starts.append(math.ceil((starts[-1] + size) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
        ids, label, dense, offsets, weight, end = starts
        return ids, label, dense, offsets, weight, end


@dataclass(frozen=True)
class Block:
    """Decoded rows that stay in memory while batches are made of them, on the host or a device.

    `offsets` are the batch's, on the host.
    """

    batch: Batch
    offsets: Ints | None = None

    @classmethod
    def on_host(cls, batch: Batch) -> Block:
        """Return the block of a batch on the host."""
        return cls(batch, None if batch.offsets is None else batch.offsets.numpy())

    def to(self, device: torch.device) -> Block:
        """Return the block on a device."""
        return Block(self.batch.to(device), self.offsets)

    def permute_on_device(self, order: Ints | None) -> Block:
        """Return a copy of the rows in `order`, on the device that holds the block."""
        batch = self.batch
        if order is None:
            return self
        there = torch.from_numpy(order).to(batch.label.device)
        label, dense = batch.label.index_select(0, there), batch.dense.index_select(0, there)
        weight = None if batch.weight is None else batch.weight.index_select(0, there)
        if self.offsets is None:
            ids = batch.ids.view(len(batch), -1).index_select(0, there).flatten()
            return Block(Batch(label, dense, ids, None, batch.hot, weight=weight))
        positions, offsets = find_ids(self.offsets, batch.features, order)
        ids = batch.ids.index_select(0, torch.from_numpy(positions).to(label.device))
        moved = torch.from_numpy(offsets).to(label.device)
        return Block(Batch(label, dense, ids, moved, batch.hot, weight=weight), offsets)

    def slice(self, start: int, stop: int) -> Batch:
        """Return rows as views, without waiting for a device."""
        if self.offsets is None:
            return self.batch.slice(start, stop)
        first, last = start * self.batch.features, stop * self.batch.features
        return self.batch.cut(start, stop, int(self.offsets[first]), int(self.offsets[last]))


@dataclass(frozen=True)
class Piece:
    """The rows of a block numbered `rows`, in this order."""

    block: Block
    rows: Ints


def gather(pieces: Sequence[Piece], allocate: Allocate) -> Batch:
    """Return the rows of pieces on the host, one piece after the other, in one buffer.

    NumPy copies them: torch's OpenMP threads would spin beside the decoding threads.
    """
    first = pieces[0].block
    samples = sum(len(piece.rows) for piece in pieces)
    features, dense = first.batch.features, first.batch.dense.shape[1]
    found = [
        find_ids(piece.block.offsets, features, piece.rows)
        for piece in pieces
        if piece.block.offsets is not None
    ]
    ids = sum(len(positions) for positions, _ in found) if found else samples * features
    bounds = samples * features + 1 if found else 0
    weighted = first.batch.weight is not None
    shape = BatchShape(samples, dense, ids, bounds, first.batch.ids.dtype, weighted)
    batch = shape.view(allocate(shape.bytes), first.batch.hot)
    for name in ("label", "dense", "weight")[: 2 + weighted]:
        _fill_column(pieces, batch, attrgetter(name))
    if not found:
        _fill_column(pieces, batch, lambda source: source.ids.view(-1, features))
    if batch.offsets is not None:
        _gather_ids(pieces, found, batch.ids.numpy(), batch.offsets.numpy())
    return batch


def concatenate(pieces: Sequence[Batch]) -> Batch:
    """Return the samples of pieces on one device, one piece after the other."""
    if len(pieces) == 1:
        return pieces[0]
    offsets = None
    if all(piece.offsets is not None for piece in pieces):
        lengths = [piece.offsets.diff() for piece in pieces if piece.offsets is not None]
        offsets = functional.pad(torch.cat(lengths).cumsum(0), (1, 0)).to(lengths[0].dtype)
    label, dense, ids = (
        torch.cat([getattr(piece, name) for piece in pieces]) for name in ("label", "dense", "ids")
    )
    weights = [piece.weight for piece in pieces if piece.weight is not None]
    weight = torch.cat(weights) if weights else None
    hot, columns = all(piece.hot for piece in pieces), pieces[0].columns
    return Batch(label, dense, ids, offsets, hot, weight=weight, columns=columns)


def find_ids(offsets: Ints, features: int, rows: Ints) -> tuple[Ints, Ints]:
    """Return the positions of the ids of the samples numbered `rows`, and their own offsets.

    A sample's ids are contiguous, so they are found as one run a sample, whatever its features.
    """
    edges = offsets[rows[:, None] * features + np.arange(features + 1)]  # (rows, features + 1)
    starts = edges[:, 0].astype(np.int64)
    totals = edges[:, -1] - starts  # ids of each sample
    # Id k of the result belongs to the run that starts at `target` in the result and at `starts`
    # in the ids; so it comes from position starts - target + k.
    target = np.cumsum(totals) - totals
    positions = np.repeat(starts - target, totals) + np.arange(totals.sum())
    new_offsets = np.zeros(len(rows) * features + 1, dtype=offsets.dtype)
    np.cumsum(np.diff(edges, axis=1), out=new_offsets[1:])
    return positions, new_offsets


def _gather_ids(
    pieces: Sequence[Piece],
    found: Sequence[tuple[Ints, Ints]],
    ids: npt.NDArray[np.integer],
    offsets: npt.NDArray[np.integer],
) -> None:
    """Fill the ids and offsets of a batch of lists from what `find_ids` found for each piece."""
    at, bag = 0, 0
    offsets[0] = 0
    for piece, (positions, own) in zip(pieces, found, strict=True):
        stop, last = at + len(positions), bag + len(own) - 1
        piece.block.batch.ids.numpy().take(positions, out=ids[at:stop], mode="clip")
        np.add(own[1:], at, out=offsets[bag + 1 : last + 1])
        at, bag = stop, last


def _fill_column(pieces: Sequence[Piece], batch: Batch, column: Callable[[Batch], Tensor]) -> None:
    """Fill a column of a batch, whose rows are the first dimension of what `column` returns."""
    into, at = column(batch).numpy(), 0
    for piece in pieces:
        stop = at + len(piece.rows)
        # mode="clip" skips a second buffer that numpy keeps for numbers out of range.
        values = column(piece.block.batch).numpy()
        values.take(piece.rows, axis=0, out=into[at:stop], mode="clip")
        at = stop
