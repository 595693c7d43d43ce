"""Batches in the order of the files, for tests that know the files' rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.loader import HotColdLoader, Order


def leaf_batches(
    data: Path, split: str, temperature: str, batch_size: int, skip: int = 0
) -> Iterator[Batch]:
    """Return a leaf's batches from number `skip` on."""
    loader = HotColdLoader(data, split, batch_size, shuffle=False)
    start, stop = (0, loader.hot) if temperature == "hot" else (loader.hot, len(loader))
    return loader.batches(0, loader.order(0), start + skip, stop)


def epoch_batches(
    data: Path, manifest: Manifest, batch_size: int, order: Order, skip: int
) -> Iterator[Batch]:
    """Return the train split's batches in `order`, from position `skip` on."""
    loader = HotColdLoader(data, "train", batch_size, shuffle=False)
    assert loader.manifest == manifest
    return loader.batches(0, order, skip)
