"""Small runs for tests: how to make one, and what of it must be the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fae.format.manifest import Manifest
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters, resolve_parameters
from fae_trainer.run.train import schedule_epoch, train
from tests.support.trainer_batches import epoch_batches
from tests.support.trainer_data import Column, Shape, write_dataset

SMALL = {"bottom_mlp": (8, 4), "top_mlp": (8, 1), "batch_size": 16, "device": "cpu"}
OPTIONS = ["--bottom-mlp", "8-4", "--top-mlp", "8-1", "--batch-size", "16", "--device", "cpu"]


#: One id a feature, and one table entirely hot.
THREE_TABLES = Shape(
    {"a": (50, 10), "b": (7, 7), "c": (40, 15)}, (Column("a"), Column("b"), Column("c"))
)


def three_tables(out: Path) -> Path:
    """Write a data set of `THREE_TABLES`."""
    write_dataset(out, THREE_TABLES)
    return out


def run(data: Path, out: Path, **given: Any) -> dict[str, Any]:
    flags = {name: given.pop(name, False) for name in ("resume", "overwrite")}
    callbacks = given.pop("callbacks", ())
    return train(
        {"data": str(data), "out": str(out), **SMALL, **given},
        quiet=True,
        callbacks=callbacks,
        **flags,
    )


def chosen(data: Path, **given: Any) -> TrainParameters:
    return resolve_parameters({"data": str(data), "out": "", **SMALL, **given}, Manifest.read(data))


def trained(p: TrainParameters, by_device: bool | None = None) -> dict[str, Any]:
    """Train an epoch of batches in the order of the files; return losses and final values."""
    manifest = Manifest.read(Path(p.data))
    recommender = Recommender(manifest, p, by_device=by_device)
    recommender.initialise(p.seed)
    return {"losses": train_epoch(recommender, p), **values(recommender)}


def train_epoch(recommender: Recommender, p: TrainParameters) -> torch.Tensor:
    """Step on each batch of an epoch; return the losses."""
    manifest = Manifest.read(Path(p.data))
    order = schedule_epoch(manifest, p, 0)
    batches = epoch_batches(Path(p.data), manifest, p.batch_size, order, 0)
    with recommender.prefetch(batches, 4) as ahead:
        return torch.stack([recommender.step(batch, plan) for batch, plan in ahead])


def values(recommender: Recommender) -> dict[str, Any]:
    """Return all that training changes."""
    return {
        "rows": recommender.tables.rows(),
        "states": recommender.tables.states(),
        "network": dict(recommender.network.state_dict()),
    }


def state(out: Path) -> dict[str, Any]:
    document = torch.load(out / "checkpoint.pt", weights_only=True)
    for name in ("seconds", "traffic"):
        document["history"].pop(name)
    document["parameters"] = {
        k: v
        for k, v in document["parameters"].items()
        if k not in ("out", "checkpoint_every", "placement", "epochs")
    }
    return document


def assert_same(one: Any, two: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_same(one[key], two[key])
    else:
        assert one == two


def assert_close(one: Any, two: Any, rtol: float) -> None:
    """Fail unless numbers are within `rtol` of each other and all else is the same."""
    if isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, two, rtol=rtol, atol=rtol / 10)
    elif isinstance(one, float):
        assert one == pytest.approx(two, rel=rtol)
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_close(one[key], two[key], rtol)
    elif isinstance(one, list):
        for each, other in zip(one, two, strict=True):
            assert_close(each, other, rtol)
    else:
        assert one == two
