"""Steps on the device equal steps by the host, whatever comes between them.

On a GPU they run as CUDA graphs, elsewhere Triton's interpreter runs their kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fae.format.manifest import Manifest
from fae_trainer.embedding.device_rows import DeviceRows, runs_kernels
from fae_trainer.model.cuda_graph import Beside
from fae_trainer.model.device_step import DeviceStep
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters
from fae_trainer.run.train import schedule_epoch
from tests.support import quick_scans  # noqa: F401
from tests.support.trainer_batches import epoch_batches
from tests.support.trainer_data import RAGGED, SEVERAL_DIMS, Column, Shape, write_dataset
from tests.support.trainer_runs import (
    THREE_TABLES,
    assert_close,
    chosen,
    three_tables,
    train_epoch,
    values,
)
from tests.support.trainer_runs import trained as trained_by

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = {
    "one id": THREE_TABLES,
    "lists": RAGGED,
    "weights": Shape(weighted=True),
    "three dims": Shape(dims={"a": 8, "c": 2}),
    "three dims, lists": SEVERAL_DIMS,
}

pytestmark = pytest.mark.skipif(
    not runs_kernels(torch.device(DEVICE)), reason="Triton is not installed"
)


def trained(p: TrainParameters, by_device: bool = True, **given: Any) -> dict[str, Any]:
    """Train on the device, or on the CPU by the host; return what is on the host then."""
    return on_host(trained_by(p, by_device=by_device, **given))


def on_host(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: on_host(value) for key, value in found.items()}
    return found.cpu() if isinstance(found, torch.Tensor) else found


def few_rows(out: Path, kind: str = "one id") -> Path:
    """Write a data set of one hot and three cold batches, since the interpreter is slow."""
    write_dataset(out, replace(SHAPES[kind], hot=8, cold=24))
    return out


def in_float64(data: Path, **given: Any) -> tuple[TrainParameters, TrainParameters]:
    """Return parameters for the device and for the host; errors of rounding are below 1e-12."""
    given = {
        "batch_size": 8,
        "dtype": "float64",
        "clip_norm": 0.05,
        "optimizer": "rowwise_adagrad",
        **given,
    }
    return chosen(data, **given, device=DEVICE), chosen(data, **given, device="cpu")


@pytest.mark.parametrize(
    ("kind", "placement"),
    [
        ("one id", "gpu"),
        ("one id", "uva"),
        ("one id", "hot-cold"),
        ("one id", "fae"),
        ("lists", "hot-cold"),
        ("weights", "hot-cold"),
        ("three dims", "fae"),
        ("three dims", "gpu"),
        ("three dims, lists", "hot-cold"),
    ],
)
def test_training_equals_the_hosts(tmp_path: Path, kind: str, placement: str) -> None:
    data = few_rows(tmp_path / "data", kind)
    optimizer = "sgd" if placement == "uva" else "rowwise_adagrad"
    there, here = in_float64(data, placement=placement, optimizer=optimizer)
    assert_close(trained(there), trained(here, by_device=False), rtol=1e-12)


def work_before_the_first_stream(patch: pytest.MonkeyPatch) -> None:
    """The second stream is done before the first goes on; so it is on the CPU."""


def work_after_the_first_stream(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Beside, "start", lambda self, work: setattr(self, "work", work))
    patch.setattr(Beside, "join", lambda self: self.work())


def no_second_stream(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DeviceStep, "reads_ahead", False)


@pytest.mark.parametrize(
    "order", [work_before_the_first_stream, work_after_the_first_stream, no_second_stream]
)
def test_the_order_of_the_streams_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Callable[[pytest.MonkeyPatch], None]
) -> None:
    order(monkeypatch)
    there, here = in_float64(few_rows(tmp_path / "data"))
    assert_close(trained(there), trained(here, by_device=False), rtol=1e-12)


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "cold rows are not written back": lambda patch: patch.setattr(
        DeviceRows, "write_back", lambda *_: None
    ),
    "the next batch keeps rows that it read too early": lambda patch: patch.setattr(
        DeviceRows,
        "update_staged",
        lambda self, staged, gradient, _: DeviceRows._update(
            self, staged.keys, staged.order, staged.bags, staged.offsets, gradient, staged, None
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_update_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    there, here = in_float64(few_rows(tmp_path / "data"))
    FAULTS[fault](monkeypatch)
    with pytest.raises(AssertionError, match="not close"):
        assert_close(trained(there), trained(here, by_device=False), rtol=1e-12)


@pytest.mark.parametrize("kind", ["one id", "three dims"])
def test_scores_and_checkpoints_between_steps_see_all_updates(tmp_path: Path, kind: str) -> None:
    few_rows(tmp_path / "data", kind)
    found = []
    for by_device, p in zip((True, False), in_float64(tmp_path / "data"), strict=True):
        manifest = Manifest.read(tmp_path / "data")
        model = Recommender(manifest, p, by_device=by_device)
        model.initialise(1)
        order = schedule_epoch(manifest, p, 0)
        seen = []
        with model.prefetch(
            epoch_batches(tmp_path / "data", manifest, p.batch_size, order, 0), 4
        ) as ahead:
            for number, (batch, plan) in enumerate(ahead):
                model.step(batch, plan)
                if number == 1:
                    seen += [model.logits(batch, plan), values(model)]
                if number == 2:  # as when a checkpoint is loaded
                    model.tables.load(model.tables.rows(), model.tables.states())
                    halves = {name: rows / 2 for name, rows in model.tables.rows().items()}
                    for tables in model.tables.groups:
                        tables.load_rows(halves)
        found.append([on_host(one) for one in [*seen, values(model)]])
    assert_close(*found, rtol=1e-12)


def test_batches_in_any_order_and_repeated_are_stepped_on(tmp_path: Path) -> None:
    """The batch that was announced need not come."""
    few_rows(tmp_path / "data", "lists")
    ends = []
    for by_device, p in zip((True, False), in_float64(tmp_path / "data"), strict=True):
        manifest = Manifest.read(tmp_path / "data")
        model = Recommender(manifest, p, by_device=by_device)
        model.initialise(1)
        order = schedule_epoch(manifest, p, 0)
        given = list(epoch_batches(tmp_path / "data", manifest, p.batch_size, order, 0))
        pairs = list(model.plan(given))
        for number in (0, 1, 1, 3, 0, 2):
            model.step(*pairs[number])
        ends.append(on_host(values(model)))
    assert_close(*ends, rtol=1e-12)


@pytest.mark.usefixtures("cuda")
def test_a_graph_equals_launching_one_by_one(tmp_path: Path) -> None:
    data = three_tables(tmp_path / "data")
    for placement in ("gpu", "uva", "hot-cold", "fae"):
        given = {"placement": placement, "optimizer": "rowwise_adagrad", "device": "cuda"}
        graph, plain = (
            trained(chosen(data, **given, cuda_graph=use, epochs=2)) for use in (True, False)
        )
        assert_close(graph, plain, rtol=1e-6)


@pytest.mark.usefixtures("cuda")
def test_many_ids_in_one_batch_equal_the_hosts(tmp_path: Path) -> None:
    """Rows that occur once, twice and thousands of times, in more blocks than the device runs."""
    tables = {"a": (200_000, 2_000), "b": (3, 3), "c": (50_000, 0)}
    shape = Shape(tables, (Column("a"), Column("b"), Column("c")), hot=9000, cold=60_000)
    write_dataset(tmp_path / "data", shape)
    there, here = in_float64(tmp_path / "data", batch_size=4096)
    models = []
    for by_device, p in ((True, there), (False, here)):
        model = Recommender(Manifest.read(tmp_path / "data"), p, by_device=by_device)
        model.initialise(1)
        models.append({"losses": train_epoch(model, p), **values(model)})
    assert_close(*map(on_host, models), rtol=1e-11)
