"""Bags of ids: which of them a model asks for, inputs outermost.

A bag is the ids of one feature of one input. TorchRec's KeyedJaggedTensor holds the same bags with
features outermost; it is read by its methods alone, so TorchRec need not be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fae.format.errors import ParameterError
from fae_trainer.data.batches import Batch


def bags_of_batch(
    batch: Batch, names: Sequence[str], features: Sequence[str]
) -> tuple[Tensor, Tensor | None]:
    """The ids and offsets of some `features` of a batch whose features are called `names`."""
    if tuple(features) == tuple(names):
        return batch.ids, batch.offsets
    places = [names.index(name) for name in features]
    if batch.offsets is None:
        return batch.ids.view(len(batch), len(names))[:, places].flatten(), None
    begins = batch.offsets[:-1].view(len(batch), len(names))[:, places]
    lengths = batch.offsets.diff().view(len(batch), len(names))[:, places]
    return _taken(batch.ids, begins, lengths)


def bags_of_keyed(keyed: Any, features: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The ids and offsets of `features` in a KeyedJaggedTensor or what has its methods.

    These are `keys()`, `values()` and `lengths()` or `offsets()`. Raises ParameterError where a
    feature is absent or ids have weights.
    """
    keys = list(keyed.keys())
    if missing := [name for name in features if name not in keys]:
        raise ParameterError(f"The keyed ids have no feature {missing[0]!r}; they have {keys}.")
    if getattr(keyed, "weights_or_none", lambda: None)() is not None:
        raise ParameterError("The keyed ids have weights, and pooling here has none. Drop them.")
    lengths = keyed.lengths() if hasattr(keyed, "lengths") else keyed.offsets().diff()
    begins = lengths.cumsum(0) - lengths
    places = [keys.index(name) for name in features]
    both = (each.view(len(keys), -1)[places].T for each in (begins, lengths))
    return _taken(keyed.values(), *both)


def _taken(ids: Tensor, begins: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The ids of bags (inputs, features) that begin and are as long as said, and their offsets."""
    sizes = lengths.flatten()
    offsets = functional.pad(sizes.cumsum(0), (1, 0))
    shifts = torch.repeat_interleave(begins.flatten() - offsets[:-1], sizes)
    places = shifts + torch.arange(len(shifts), device=ids.device)
    return ids[places], offsets
