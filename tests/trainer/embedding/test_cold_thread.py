"""The host's thread: no update lost and no read stale, whatever the threads' timing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.embedding import tables
from fae_trainer.embedding.cold_thread import ColdThread, Fetched, Request, Sent
from fae_trainer.embedding.shard import Shard
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters, resolve_parameters
from fae_trainer.run.train import schedule_epoch
from tests.support.trainer_batches import epoch_batches
from tests.support.trainer_data import RAGGED, Shape, write_dataset
from tests.support.trainer_runs import SMALL, assert_same

#: Many batches that share most of their cold rows.
SHARED = Shape(tables={"a": (30, 10), "b": (7, 7), "c": (12, 4), "d": (20, 8)}, hot=400, cold=500)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", SHARED)
    return tmp_path / "data"


def run_parameters(data: Path, **given: object) -> TrainParameters:
    chosen = {"data": str(data), "out": "", **SMALL, "optimizer": "rowwise_adagrad", **given}
    return resolve_parameters(chosen, Manifest.read(data))


def train(
    data: Path,
    p: TrainParameters,
    reads_ahead: bool,
    pause: random.Random | None = None,
    held: bool = False,
) -> dict[str, Any]:
    """Train an epoch and return its results; with `pause`, the loop sleeps here and there.

    On the way, the run looks at logits and tables, as evaluations and checkpoints do.
    """
    manifest = Manifest.read(data)
    recommender = Recommender(manifest, p)
    recommender.initialise(p.seed)
    recommender.reads_ahead = reads_ahead
    if held:
        recommender.use_graph_step(p.batch_size)
    order = schedule_epoch(manifest, p, 0)
    losses: list[float] = []
    seen: dict[int, Any] = {}

    def slowly() -> Iterator[Batch]:
        for batch in epoch_batches(data, manifest, p.batch_size, order, 0):
            sleep(pause)
            yield batch

    with recommender.prefetch_steps(slowly(), 4) as ahead:
        for batch, plan in ahead:
            sleep(pause)
            losses.append(recommender.step(batch, plan).item())
            if len(losses) % 10 == 0:
                again = next(iter(recommender.plan_scores([batch])))[1]
                seen[len(losses)] = {
                    "logits": recommender.logits(batch, again),
                    **recommender.tables.rows(),
                }
    assert not helpers()
    end = {"rows": recommender.tables.rows(), "states": recommender.tables.states()}
    return {"losses": losses, "seen": seen, **end}


def helpers() -> set[str]:
    """Return the names of the trainer's threads that are alive."""
    return {thread.name for thread in threading.enumerate()} & {"prefetch", "cold rows"}


def sleep(pause: random.Random | None) -> None:
    if pause is not None and pause.random() < 0.3:
        time.sleep(pause.random() * 0.004)


def jittery(seed: int) -> type[ColdThread]:
    class Jittery(ColdThread):
        pause = random.Random(seed)

        def _fetch(self, at: Tensor) -> Fetched:
            sleep(self.pause)
            fetched = super()._fetch(at)
            sleep(self.pause)
            return fetched

        def _update(self, at: Tensor, own: Shard, sent: Sent) -> None:
            sleep(self.pause)
            super()._update(at, own, sent)
            sleep(self.pause)

    return Jittery


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("schedule", ["interleaved", "phases"])
def test_random_timing_changes_no_bit(
    data: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, held: bool
) -> None:
    p = run_parameters(data, schedule=schedule)
    expected = train(data, p, reads_ahead=False)
    for seed in (1, 2):
        monkeypatch.setattr(tables, "ColdThread", jittery(seed))
        found = train(data, p, reads_ahead=True, pause=random.Random(seed + 1), held=held)
        assert_same(found, expected)


def test_lists_and_shared_tables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    p = run_parameters(tmp_path / "data")
    monkeypatch.setattr(tables, "ColdThread", jittery(7))
    found = train(tmp_path / "data", p, reads_ahead=True)
    assert_same(found, train(tmp_path / "data", p, reads_ahead=False))


def test_a_read_before_the_update_would_be_seen(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stale(ColdThread):
        """Fetches a batch's rows before it applies the update of the batch before."""

        late: tuple[Tensor, Shard, Sent] | None = None

        def _update(self, at: Tensor, own: Shard, sent: Sent) -> None:
            if self.late is not None:
                super()._update(*self.late)
            self.late = (at, own, sent)

    p = run_parameters(data)
    monkeypatch.setattr(tables, "ColdThread", Stale)
    stale, expected = (train(data, p, reads_ahead=ahead)["losses"] for ahead in (True, False))
    assert stale != expected


def test_the_next_rows_are_fetched_while_hot_batches_run(data: Path) -> None:
    manifest, p = Manifest.read(data), run_parameters(data)
    recommender = Recommender(manifest, p)
    recommender.initialise(0)
    recommender.reads_ahead = True
    order = schedule_epoch(manifest, p, 0)
    found = 0
    with recommender.prefetch_steps(epoch_batches(data, manifest, 16, order, 0), 8) as ahead:
        for batch, lookup in ahead:
            thread = recommender.tables._thread
            assert thread is not None
            assert helpers() >= {"cold rows"}
            if batch.hot and thread._pending:
                assert len(thread._pending[0].rows.result(timeout=60).own.rows)
                found += 1
            recommender.step(batch, lookup)
    assert found > 10


@pytest.mark.parametrize("where", ["_fetch", "_update"])
@pytest.mark.parametrize("turn", [0, 3, -1])
def test_an_error_on_the_thread_stops_the_run(
    data: Path, monkeypatch: pytest.MonkeyPatch, where: str, turn: int
) -> None:
    p = run_parameters(data)
    order = schedule_epoch(Manifest.read(data), p, 0)
    last = order.batches - order.hot_before(order.batches) - 1

    class Failing(ColdThread):
        turns = 0

        def _process(self, turn_now: Request) -> None:
            if self.turns == (last if turn == -1 else turn):
                setattr(self, where, self.fail)
            self.turns += 1
            super()._process(turn_now)

        def fail(self, *_: object) -> None:
            raise MemoryError("no room")

    monkeypatch.setattr(tables, "ColdThread", Failing)
    with pytest.raises(MemoryError, match="no room"):
        train(data, p, reads_ahead=True)
    assert not helpers()


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_a_run_that_is_stopped_ends_the_thread(data: Path, stop: int) -> None:
    manifest, p = Manifest.read(data), run_parameters(data)
    recommender = Recommender(manifest, p)
    recommender.initialise(0)
    recommender.reads_ahead = True
    batches = epoch_batches(data, manifest, 16, schedule_epoch(manifest, p, 0), 0)

    def stopped() -> None:
        with recommender.prefetch_steps(batches, 4) as ahead:
            for step, (batch, lookup) in enumerate(ahead):
                if step == stop:
                    raise KeyboardInterrupt
                recommender.step(batch, lookup)

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not helpers()
    assert torch.isfinite(recommender.tables.cold.rows).all()
