"""Bags, the ids of one feature of one sample: check them, choose features, order them by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fae.format.errors import ParameterError
from fae_trainer.data.batches import Batch, select_features


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


def _gather_bags(ids: Tensor, begins: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ids and offsets of bags that begin at `begins`, (samples, features), in `ids`."""
    sizes = lengths.flatten()
    offsets = functional.pad(sizes.cumsum(0), (1, 0))
    # Id k of the result comes from position k plus the shift of its bag.
    shifts = torch.repeat_interleave(begins.flatten() - offsets[:-1], sizes)
    return ids[shifts + torch.arange(len(shifts), device=ids.device)], offsets
