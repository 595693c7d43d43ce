"""Bags, the ids of one feature of one sample: check, choose and name them, order them by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fae.format.errors import ParameterError
from fae_trainer.data.batches import Batch


def make_batch(ids: Tensor, offsets: Tensor | None, limits: Tensor) -> Batch:
    """Return checked ids as a batch without labels and dense features.

    `limits`, (features,), are the numbers of rows of the features' tables. Raises ParameterError
    where an id is not a row, or the offsets do not fit.
    """
    features = len(limits)
    ids = ids.detach().flatten()
    offsets = None if offsets is None else offsets.detach().to(ids.device)
    bags = len(ids) if offsets is None else len(offsets) - 1
    samples, rest = divmod(bags, features)
    if rest or bags < 0:
        raise ParameterError(f"{bags} bags do not make a batch of {features} features a sample.")
    limits = limits.to(ids.device).repeat(samples)
    if offsets is not None:
        if offsets[0] or (offsets.diff() < 0).any():
            raise ParameterError("offsets must begin at 0 and never fall.")
        limits = limits.repeat_interleave(offsets.diff())
    if len(limits) != len(ids):
        raise ParameterError(f"offsets end at {len(limits)}, but there are {len(ids)} ids.")
    if (wrong := (ids < 0) | (ids >= limits)).any():
        at = int(wrong.nonzero()[0])
        raise ParameterError(f"Id {ids[at]} is not a row of a table of {limits[at]} rows.")
    return Batch(torch.empty(samples), torch.empty((samples, 0)), ids, offsets, hot=False)


def select_features(batch: Batch, columns: Tensor) -> Batch:
    """Return the batch with only the features numbered `columns`, without waiting for its device.

    `columns` are on that device too. Where features have lists, there are as many ids as before,
    since only the device knows how many are left; those behind the last offset belong to no bag.
    """
    if batch.offsets is None:
        ids = batch.ids.view(len(batch), -1).index_select(1, columns).flatten()
        return replace(batch, ids=ids, buffer=None, columns=None)
    begins, lengths = (
        values.view(len(batch), -1).index_select(1, columns).flatten()
        for values in (batch.offsets[:-1], batch.offsets.diff())
    )
    offsets = functional.pad(lengths.cumsum(0), (1, 0)).to(lengths.dtype)
    at = torch.arange(len(batch.ids), dtype=offsets.dtype, device=offsets.device)
    # Id k of the result comes from position k plus the shift of its bag, the first that ends later.
    bag = torch.searchsorted(offsets[1:], at, right=True).clamp(max=len(lengths) - 1)
    source = at + (begins - offsets[:-1]).index_select(0, bag)
    ids = batch.ids.index_select(0, source.clamp(max=len(at) - 1))
    return replace(batch, ids=ids, offsets=offsets, buffer=None, columns=None)


def select_bags(
    batch: Batch, names: Sequence[str], features: Sequence[str]
) -> tuple[Tensor, Tensor | None]:
    """Return the ids and offsets of some `features` of a batch with features `names`."""
    if tuple(features) == tuple(names):
        return batch.ids, batch.offsets
    columns = torch.tensor([names.index(name) for name in features], device=batch.ids.device)
    chosen = select_features(batch, columns)
    if chosen.offsets is None:
        return chosen.ids, None
    return chosen.ids[: int(chosen.offsets[-1])], chosen.offsets


def transpose_bags(keyed: Any, features: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the ids and offsets of `features` in a KeyedJaggedTensor, ordered by sample first."""
    keys = list(keyed.keys())
    if missing := [name for name in features if name not in keys]:
        raise ParameterError(f"The keyed ids have no feature {missing[0]!r}; they have {keys}.")
    if getattr(keyed, "weights_or_none", lambda: None)() is not None:
        raise ParameterError("The keyed ids have weights, which pooling ignores. Drop them.")
    lengths = keyed.lengths() if hasattr(keyed, "lengths") else keyed.offsets().diff()
    begins = lengths.cumsum(0) - lengths
    rows = [keys.index(name) for name in features]
    return _gather_bags(
        keyed.values(), *(each.view(len(keys), -1)[rows].T for each in (begins, lengths))
    )


def find_column(batch: Batch, name: str) -> Tensor | tuple[Tensor, Tensor]:
    """Return a batch's column; see `Batch.__getitem__`."""
    features = batch.columns
    if features is None:
        raise KeyError(f"The batch does not know its columns' names, so it has no {name!r}.")
    sparse = [feature.name for feature in features.sparse]
    if name == features.label:
        return batch.label
    if name in features.dense:
        return batch.dense[:, features.dense.index(name)]
    if name == features.weight and batch.weight is not None:
        return batch.weight
    if name not in sparse:
        known = [features.label, *features.dense, *sparse]
        raise KeyError(f"The batch has no {name!r}; it has {known}.")
    at = sparse.index(name)
    if batch.offsets is None:
        return batch.ids.view(len(batch), -1)[:, at]
    begins, lengths = (
        each.view(len(batch), -1)[:, at] for each in (batch.offsets[:-1], batch.offsets.diff())
    )
    ids, offsets = _gather_bags(batch.ids, begins, lengths)
    return (ids, offsets) if features.sparse[at].multi else ids


def make_keyed(batch: Batch) -> Any:
    """Return a batch's ids as TorchRec's KeyedJaggedTensor; see `Batch.to_kjt`."""
    if batch.columns is None:
        raise ParameterError("The batch does not know its features' names. Take it from a loader.")
    try:
        torchrec = import_module("torchrec.sparse.jagged_tensor")
    except ImportError as error:
        raise ParameterError(
            f"to_kjt needs TorchRec ({error}). Install the packages torchrec and fbgemm-gpu."
        ) from None
    if batch.offsets is None:
        values = batch.ids.view(len(batch), -1).T.flatten()
        lengths = torch.ones(len(values), dtype=torch.int32)
    else:
        begins, sizes = (
            each.view(len(batch), -1).T for each in (batch.offsets[:-1], batch.offsets.diff())
        )
        values, lengths = _gather_bags(batch.ids, begins, sizes)[0], sizes.flatten()
    names = [feature.name for feature in batch.columns.sparse]
    return torchrec.KeyedJaggedTensor(names, values, lengths=lengths.to(values.device))


def _gather_bags(ids: Tensor, begins: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ids and offsets of bags that begin at `begins`, (samples, features), in `ids`."""
    sizes = lengths.flatten()
    offsets = functional.pad(sizes.cumsum(0), (1, 0))
    # Id k of the result comes from position k plus the shift of its bag.
    shifts = torch.repeat_interleave(begins.flatten() - offsets[:-1], sizes)
    return ids[shifts + torch.arange(len(shifts), device=ids.device)], offsets
