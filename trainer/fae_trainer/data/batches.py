"""Batches: consecutive inputs of one temperature, as tensors, and how they are cut and joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Inputs of one temperature; `hot` says that they touch hot rows alone.

    `label` is (batch,) of 0 and 1, `dense` (batch, dense features), both float32. `ids` holds the
    ids of every input's features, inputs outermost: (batch * features,) where every feature has one
    id, and then `offsets` is None. Otherwise the ids of feature f of input i are those from
    `offsets[i * features + f]` up to the next offset; `offsets` is (batch * features + 1,). Both
    are int32 where every id fits, else int64.
    """

    label: Tensor
    dense: Tensor
    ids: Tensor
    offsets: Tensor | None
    hot: bool

    def __len__(self) -> int:
        """The number of inputs."""
        return len(self.label)

    @property
    def features(self) -> int:
        """The number of sparse features."""
        bags = len(self.ids) if self.offsets is None else len(self.offsets) - 1
        return bags // len(self)

    def slice(self, start: int, stop: int) -> Batch:
        """The inputs from `start` to before `stop`; their tensors are views of this batch's."""
        first, last = start * self.features, stop * self.features
        offsets = self.offsets
        if offsets is not None:
            bounds = offsets[first : last + 1]
            first, last, offsets = int(bounds[0]), int(bounds[-1]), bounds - bounds[0]
        label, dense = self.label[start:stop], self.dense[start:stop]
        return Batch(label, dense, self.ids[first:last], offsets, self.hot)

    def take(self, order: Ints) -> Batch:
        """A copy of the inputs numbered `order`, in that order."""
        label, dense = _take_rows(self.label, order), _take_rows(self.dense, order)
        if self.offsets is None:
            ids = _take_rows(self.ids.view(len(self), self.features), order)
            return Batch(label, dense, ids.flatten(), None, self.hot)
        flat, offsets = take_bags(self.ids, self.offsets, self.features, order)
        return Batch(label, dense, flat, offsets, self.hot)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        return self._each(lambda values: values.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which a GPU copies by itself, where not on one."""
        return self._each(lambda values: values if values.is_cuda else values.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        offsets = None if self.offsets is None else change(self.offsets)
        return Batch(change(self.label), change(self.dense), change(self.ids), offsets, self.hot)


def concatenate(pieces: Sequence[Batch]) -> Batch:
    """The inputs of one piece after the other."""
    if len(pieces) == 1:
        return pieces[0]
    offsets = None
    if all(piece.offsets is not None for piece in pieces):
        lengths = [piece.offsets.diff() for piece in pieces if piece.offsets is not None]
        offsets = functional.pad(torch.cat(lengths).cumsum(0), (1, 0)).to(lengths[0].dtype)
    both = Batch(
        _concatenate_rows([piece.label for piece in pieces]),
        _concatenate_rows([piece.dense for piece in pieces]),
        _concatenate_rows([piece.ids for piece in pieces]),
        offsets,
        pieces[0].hot,
    )
    return both.pin_memory() if pieces[0].ids.is_pinned() else both


def take_bags(ids: Tensor, offsets: Tensor, features: int, order: Ints) -> tuple[Tensor, Tensor]:
    """The ids and offsets of the inputs numbered `order`; an input's ids lie together."""
    bounds = offsets.numpy()
    starts = bounds[order * features].astype(np.int64)
    lengths = np.diff(bounds).reshape(-1, features)[order]  # (inputs, features)
    totals = bounds[(order + 1) * features] - starts
    own = np.cumsum(totals) - totals
    places = np.repeat(starts - own, totals) + np.arange(totals.sum())
    found = np.zeros(lengths.size + 1, dtype=bounds.dtype)
    np.cumsum(lengths, out=found[1:])
    return torch.from_numpy(ids.numpy()[places]), torch.from_numpy(found)


def _concatenate_rows(parts: Sequence[Tensor]) -> Tensor:
    """Rows of one part after the other. OpenMP's threads would spin where others decode."""
    if parts[0].is_cuda:
        return torch.cat(list(parts))
    return torch.from_numpy(np.concatenate([part.numpy() for part in parts]))


def _take_rows(values: Tensor, order: Ints) -> Tensor:
    """Rows of `values`. On the host numpy is used: it copies whole rows, and needs no OpenMP."""
    if values.is_cuda:
        return values.index_select(0, torch.from_numpy(order).to(values.device))
    return torch.from_numpy(values.numpy().take(order, axis=0, mode="clip"))
