"""Callbacks: what a run tells them, and how they and `patience` stop it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fae.format.errors import DatasetError, ParameterError
from fae_trainer.run.callbacks import Callback, is_stale
from fae_trainer.run.history import CurvePoint
from tests.support.trainer_data import RAGGED, Shape, write_dataset
from tests.support.trainer_runs import assert_same, run, state


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "data"
    write_dataset(folder, RAGGED)
    return folder


class Recorder(Callback):
    """Keeps what it is told, and stops a run at its evaluation number `stop_at`."""

    def __init__(self, stop_at: int = 99) -> None:
        self.told: list[Any] = []
        self.stop_at = stop_at

    def on_start(self, parameters: Mapping[str, Any], *, resumed: bool) -> None:
        self.told.append((parameters["batch_size"], resumed))

    def on_evaluation(self, curve: Sequence[CurvePoint]) -> bool:
        self.told.append(curve[-1].step)
        return len(curve) == self.stop_at

    def on_end(self, metrics: Mapping[str, Any]) -> None:
        self.told.append(metrics["steps"])

    def close(self) -> None:
        self.told.append("closed")


def test_a_callback_follows_a_run_and_changes_nothing(data: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run(data, tmp_path / "one", eval_every=5, callbacks=[recorder])
    assert recorder.told == [(16, False), 5, 10, 15, 15, "closed"]
    run(data, tmp_path / "two", eval_every=5)
    assert_same(state(tmp_path / "one"), state(tmp_path / "two"))


def test_a_run_that_a_callback_stopped_resumes_to_what_it_would_have_been(
    data: Path, tmp_path: Path
) -> None:
    stopper, later = Recorder(stop_at=2), Recorder()
    metrics = run(data, tmp_path / "one", eval_every=4, callbacks=[stopper])
    assert stopper.told == [(16, False), 4, 8, 8, "closed"]
    assert (metrics["steps"], metrics["epochs"]) == (8, 0)
    run(data, tmp_path / "one", eval_every=4, resume=True, callbacks=[later])
    assert later.told == [(16, True), 12, 15, 15, "closed"]
    run(data, tmp_path / "two", eval_every=4)
    assert_same(state(tmp_path / "one"), state(tmp_path / "two"))


def test_callbacks_are_closed_after_an_error(data: Path, tmp_path: Path) -> None:
    class Failing(Recorder):
        def on_evaluation(self, curve: Sequence[CurvePoint]) -> bool:
            raise RuntimeError("told")

    failing = Failing()
    with pytest.raises(RuntimeError, match="told"):
        run(data, tmp_path / "run", callbacks=[failing])
    assert failing.told[-1] == "closed"


def test_patience_stops_a_run_that_learns_no_more(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = itertools.chain([0.7, 0.6, 0.65], itertools.repeat(0.6))
    monkeypatch.setattr(
        "fae_trainer.run.train.measure_split",
        lambda *_: {"logloss": next(losses), "auc": 0.5, "accuracy": 0.5},
    )
    metrics = run(data, tmp_path / "run", eval_every=2, patience=2, epochs=3)
    assert (metrics["steps"], metrics["epochs"]) == (8, 0)
    assert run(data, tmp_path / "run", resume=True)["steps"] == 8


@pytest.mark.parametrize(
    ("losses", "patience", "stale"),
    [
        ([], 1, False),
        ([3.0], 1, False),
        ([3.0, 2.0], 1, False),
        ([2.0, 2.0], 1, True),  # as good is no better
        ([2.0, 3.0, 2.5], 3, False),
        ([2.0, 3.0, 2.5], 2, True),
        ([2.0, 3.0, 4.0], 0, False),
        ([None, None], 1, False),
    ],
)
def test_patience_counts_evaluations_since_the_best(
    losses: list[float | None], patience: int, stale: bool
) -> None:
    curve = [CurvePoint(step, step, 1.0, loss, None) for step, loss in enumerate(losses)]
    assert is_stale(curve, patience) is stale


def test_evaluations_by_samples_fall_on_the_closest_batches(data: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run(data, tmp_path / "run", eval_every_samples=100, callbacks=[recorder])
    assert recorder.told == [(16, False), 6, 12, 15, 15, "closed"]
    with pytest.raises(ParameterError, match="without --eval-every"):
        run(data, tmp_path / "other", eval_every_samples=100, eval_every=3)


def test_patience_needs_rows_to_validate_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(eval_rows=0))
    with pytest.raises(DatasetError, match=r"no valid rows.*--patience"):
        run(tmp_path / "data", tmp_path / "run", patience=1)
