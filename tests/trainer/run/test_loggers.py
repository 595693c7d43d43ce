"""Loggers: each tool has a run's parameters, curve and results, and none can spoil the run."""

from __future__ import annotations

import csv
import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fae.format.errors import FaeError, MissingExtraError
from fae_trainer.parameters import LOGGERS as NAMES
from fae_trainer.run.loggers import LOGGERS, Logger, open_logger
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "data"
    write_dataset(folder, RAGGED)
    return folder


@pytest.fixture(autouse=True)
def quiet_libraries() -> Iterator[None]:
    """The tools' libraries may warn of what they like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def curve(out: Path) -> dict[int, dict[str, float]]:
    """The points of curve.csv by step."""
    with (out / "curve.csv").open() as lines:
        return {
            int(row.pop("step")): {k: float(v) for k, v in row.items()}
            for row in csv.DictReader(lines)
        }


def test_the_command_line_knows_all_loggers() -> None:
    assert tuple(LOGGERS) == NAMES


def test_tensorboard_has_the_curve_by_step(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run(data, tmp_path, eval_every=5, callbacks=[open_logger("tensorboard", tmp_path)])
    module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("train_logloss", "valid_logloss", "valid_auc", "samples"):
        logged = {event.step: event.value for event in events.Scalars(name)}
        assert logged == pytest.approx({step: p[name] for step, p in curve(tmp_path).items()})
    assert [event.step for event in events.Scalars("test_auc")] == [15]
    assert "parameters/text_summary" in events.Tags()["tensors"]


def test_dvclive_has_the_curve_and_goes_on_with_a_resumed_run(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("dvclive")
    for epochs in (1, 2):
        logger = open_logger("dvclive", tmp_path)
        run(data, tmp_path, eval_every=5, epochs=epochs, resume=epochs == 2, callbacks=[logger])
    with (tmp_path / "dvclive" / "plots" / "metrics" / "valid_auc.tsv").open() as lines:
        logged = {
            int(r["step"]): float(r["valid_auc"]) for r in csv.DictReader(lines, delimiter="\t")
        }
    assert logged == pytest.approx({step: p["valid_auc"] for step, p in curve(tmp_path).items()})
    assert json.loads((tmp_path / "dvclive" / "metrics.json").read_text())["test_auc"] is not None
    assert "batch_size: 16" in (tmp_path / "dvclive" / "params.yaml").read_text()


class FakeTool:
    """A tool's library and its run at once, which keeps what it is told.

    The real ones start services, or need versions of libraries that others do not bear.
    """

    def __init__(self, active: bool) -> None:
        self.run = self if active else None
        self.calls: list[str] = []
        self.parameters: dict[str, Any] = {}
        self.metrics: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.setdefault(step, {}).update(metrics)


class FakeMLflow(FakeTool):
    """What a run calls of MLflow."""

    def active_run(self) -> FakeTool | None:
        return self.run

    def start_run(self, run_name: str) -> None:
        self.calls.append(run_name)

    def log_params(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters

    def end_run(self, status: str) -> None:
        self.calls.append(status)


class FakeWandb(FakeTool):
    """What a run calls of Weights & Biases."""

    log = FakeTool.log_metrics
    config = property(lambda self: self)

    def init(self, name: str, dir: str) -> FakeTool:
        self.calls.append(name)
        return self

    def update(self, parameters: dict[str, Any], allow_val_change: bool) -> None:
        assert allow_val_change
        self.parameters = parameters

    def finish(self, exit_code: int) -> None:
        self.calls.append(str(exit_code))


@pytest.mark.parametrize(
    ("name", "kind", "active", "calls"),
    [
        ("mlflow", FakeMLflow, False, ["run", "FINISHED"]),
        ("mlflow", FakeMLflow, True, []),
        ("wandb", FakeWandb, False, ["run", "0"]),
        ("wandb", FakeWandb, True, []),
    ],
)
def test_a_service_has_parameters_curve_and_results(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[FakeTool],
    active: bool,
    calls: list[str],
) -> None:
    tool, out = kind(active), tmp_path / "run"
    monkeypatch.setitem(sys.modules, name, tool)
    monkeypatch.setattr("fae_trainer.run.loggers.require", lambda *_: None)
    run(data, out, eval_every=5, callbacks=[open_logger(name, out)])
    assert tool.calls == calls
    assert tool.parameters["bottom_mlp"] == "8-4"
    assert list(tool.metrics) == [5, 10, 15]
    for step, point in curve(out).items():
        assert tool.metrics[step].items() >= point.items()
    assert "test_auc" in tool.metrics[15]


def test_a_run_that_failed_is_told_as_failed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = FakeMLflow(active=False)
    monkeypatch.setitem(sys.modules, "mlflow", tool)
    monkeypatch.setattr("fae_trainer.run.loggers.require", lambda *_: None)
    monkeypatch.setattr("fae_trainer.run.train.measure_split", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(data, tmp_path / "run", callbacks=[open_logger("mlflow", tmp_path / "run")])
    assert tool.calls == ["run", "FAILED"]


class Broken(Logger):
    """A tool that fails at one call."""

    module, extra = "json", "none"

    def __init__(self, run: Path, fails_at: str) -> None:
        super().__init__(run)
        self.calls: list[str] = []
        self.fails_at = fails_at

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_at:
            raise ConnectionError("refused.\nby its server")

    def open(self) -> None:
        self._call("open")

    def log_parameters(self, parameters: Any) -> None:
        self._call("parameters")

    def log_metrics(self, metrics: Any, step: int) -> None:
        self._call("metrics")


def test_a_tool_that_fails_as_the_run_starts_ends_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FaeError, match=r"Cannot log to json: refused\.$"):
        run(data, tmp_path / "run", callbacks=[Broken(tmp_path, "open")])


def test_a_tool_that_fails_later_is_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken(tmp_path, "metrics")
    run(data, tmp_path / "run", eval_every=5, callbacks=[broken])
    assert broken.calls == ["open", "parameters", "metrics"]
    assert capsys.readouterr().err == "warning: json failed, and is told no more: refused.\n"
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_that_is_not_installed_is_told_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    extra = {"dvclive": "dvc"}.get(name, name)
    with pytest.raises(MissingExtraError, match=rf"pip install 'fae-recsys\[{extra}\]'"):
        open_logger(name, tmp_path)
