"""Batches: consecutive samples of one temperature, as tensors, and how they are cut and joined."""

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
    """Samples of one temperature; `hot` says that they touch hot rows only.

    `label` is (batch,) of 0 and 1, `dense` is (batch, dense features), both float32. `ids` holds
    the ids of all samples' features, samples outermost. Where every feature has one id, `ids` is
    (batch * features,) and `offsets` is None. Otherwise the ids of feature f of sample i start at
    `offsets[i * features + f]` and end before the next offset; `offsets` is
    (batch * features + 1,). Both are int32 if every id fits, else int64.
    """

    label: Tensor
    dense: Tensor
    ids: Tensor
    offsets: Tensor | None
    hot: bool

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.label)

    @property
    def features(self) -> int:
        """The number of sparse features."""
        bags = len(self.ids) if self.offsets is None else len(self.offsets) - 1
        return bags // len(self)

    def slice(self, start: int, stop: int) -> Batch:
        """Return the samples from `start` to before `stop`, as views of this batch's tensors."""
        first, last = start * self.features, stop * self.features
        offsets = self.offsets
        if offsets is not None:
            bounds = offsets[first : last + 1]
            first, last, offsets = int(bounds[0]), int(bounds[-1]), bounds - bounds[0]
        label, dense = self.label[start:stop], self.dense[start:stop]
        return Batch(label, dense, self.ids[first:last], offsets, self.hot)

    def take(self, order: Ints) -> Batch:
        """Return a copy of the samples numbered `order`, in that order."""
        label, dense = _take_rows(self.label, order), _take_rows(self.dense, order)
        if self.offsets is None:
            ids = _take_rows(self.ids.view(len(self), self.features), order)
            return Batch(label, dense, ids.flatten(), None, self.hot)
        flat, offsets = take_bags(self.ids, self.offsets, self.features, order)
        return Batch(label, dense, flat, offsets, self.hot)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return self._map(lambda values: values.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch with its host tensors in page-locked memory, which a GPU can read."""
        return self._map(lambda values: values if values.is_cuda else values.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        offsets = None if self.offsets is None else change(self.offsets)
        return Batch(change(self.label), change(self.dense), change(self.ids), offsets, self.hot)


def concatenate(pieces: Sequence[Batch]) -> Batch:
    """Return the samples of the pieces, one piece after the other."""
    if len(pieces) == 1:
        return pieces[0]
    offsets = None
    if all(piece.offsets is not None for piece in pieces):
        lengths = [piece.offsets.diff() for piece in pieces if piece.offsets is not None]
        offsets = functional.pad(torch.cat(lengths).cumsum(0), (1, 0)).to(lengths[0].dtype)
    batch = Batch(
        _concatenate_rows([piece.label for piece in pieces]),
        _concatenate_rows([piece.dense for piece in pieces]),
        _concatenate_rows([piece.ids for piece in pieces]),
        offsets,
        pieces[0].hot,
    )
    return batch.pin_memory() if pieces[0].ids.is_pinned() else batch


def take_bags(ids: Tensor, offsets: Tensor, features: int, order: Ints) -> tuple[Tensor, Tensor]:
    """Return the ids and offsets of the samples numbered `order`.

    A sample's ids are contiguous, so they are copied as one run a sample, whatever its features.
    """
    bounds = offsets.numpy()
    starts = bounds[order * features].astype(np.int64)  # of each sample's ids in `ids`
    lengths = np.diff(bounds).reshape(-1, features)[order]  # (samples, features)
    totals = bounds[(order + 1) * features] - starts  # ids of each sample
    # Id k of the result belongs to the run that starts at `target` in the result and at `starts`
    # in `ids`; so it comes from position starts - target + k.
    target = np.cumsum(totals) - totals
    positions = np.repeat(starts - target, totals) + np.arange(totals.sum())
    new_offsets = np.zeros(lengths.size + 1, dtype=bounds.dtype)
    np.cumsum(lengths, out=new_offsets[1:])
    return torch.from_numpy(ids.numpy()[positions]), torch.from_numpy(new_offsets)


def _concatenate_rows(parts: Sequence[Tensor]) -> Tensor:
    """Return the rows of one part after the other.

    On the host numpy copies them: torch's OpenMP threads would spin beside the decoding threads.
    """
    if parts[0].is_cuda:
        return torch.cat(list(parts))
    return torch.from_numpy(np.concatenate([part.numpy() for part in parts]))


def _take_rows(values: Tensor, order: Ints) -> Tensor:
    """Return the rows of `values` numbered `order`; on the host by numpy, without OpenMP."""
    if values.is_cuda:
        return values.index_select(0, torch.from_numpy(order).to(values.device))
    # mode="clip" skips a second buffer that numpy keeps for numbers out of range.
    return torch.from_numpy(values.numpy().take(order, axis=0, mode="clip"))
