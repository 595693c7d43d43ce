"""Placements side by side: the same bits under every schedule, and what `fae` copies for them."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from fae.format.manifest import Manifest
from fae_trainer.embedding.replicated import ReplicatedTables
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import SCHEDULES, resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.evaluate import resolve_device
from fae_trainer.run.train import Run, schedule_epoch
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import assert_same, run, state


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    return tmp_path / "data"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_placements_give_the_same_bits_under_every_schedule(
    data: Path, tmp_path: Path, schedule: str
) -> None:
    for placement in ("gpu", "hot-cold", "fae"):
        run(data, tmp_path / placement, placement=placement, schedule=schedule, epochs=2)
    expected = state(tmp_path / "gpu")
    assert len(expected["history"]["feedback"]) == (4 if schedule == "adaptive" else 0)
    for placement in ("hot-cold", "fae"):
        assert_same(state(tmp_path / placement), expected)


def test_schedules_differ_and_other_placements_copy_nothing(data: Path, tmp_path: Path) -> None:
    metrics = {s: run(data, tmp_path / s, schedule=s) for s in SCHEDULES}
    assert len({each["test_logloss"] for each in metrics.values()}) == len(SCHEDULES)
    for each in metrics.values():
        assert (each["syncs"], each["sync_bytes"], each["sync_seconds"]) == (0, 0, 0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fae_copies_the_hot_rows_at_each_switch(data: Path, tmp_path: Path, schedule: str) -> None:
    metrics = run(data, tmp_path / "run", placement="fae", schedule=schedule, eval_every=3)
    manifest = Manifest.read(data)
    p = resolve_parameters(checkpoint.load(tmp_path / "run").parameters, manifest)
    order = schedule_epoch(manifest, p, 0, checkpoint.load(tmp_path / "run").history["feedback"])
    kinds = [order.is_hot(k) for k in range(order.batches)]
    switches = sum(one != two for one, two in itertools.pairwise([False, *kinds]))
    bytes_each = sum(t.hot_rows for t in manifest.tables) * (4 * 4 + 4)
    assert metrics["syncs"] == switches
    assert metrics["sync_bytes"] == switches * bytes_each
    assert metrics["sync_seconds"] > 0


def test_a_resumed_fae_run_counts_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"placement": "fae", "schedule": "shuffled", "seed": 4}
    whole = run(data, tmp_path / "whole", **given)
    save = Run.save

    def stopping(self: Run) -> None:
        save(self)
        if self.history.step == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "broken", checkpoint_every=1, **given)
    before = checkpoint.load(tmp_path / "broken").history["traffic"]["syncs"]
    resumed = run(data, tmp_path / "broken", resume=True)
    assert_same(state(tmp_path / "broken"), state(tmp_path / "whole"))
    assert before > 0
    assert resumed["syncs"] > before
    assert abs(resumed["syncs"] - whole["syncs"]) <= 1  # loading fills the host's tables alone


def test_the_copy_holds_optimiser_state_too(data: Path) -> None:
    manifest = Manifest.read(data)
    given = {"data": str(data), "out": "", "placement": "fae", "device": "cpu"}
    recommender = Recommender(manifest, resolve_device(resolve_parameters(given, manifest)))
    recommender.initialise(0)
    (tables,) = recommender.tables.groups
    assert isinstance(tables, ReplicatedTables)
    host = tables.hot
    tables.prepare_for(hot=True)
    tables.hot.state.fill_(3.0)
    tables.hot.rows.fill_(2.0)
    assert not host.state.any()
    tables.prepare_for(hot=False)
    assert tables.hot is host
    assert (host.state == 3).all()
    assert (host.rows == 2).all()
    assert tables.traffic.syncs == 2
