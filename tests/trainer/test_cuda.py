"""Training on a simulated CUDA device: what only CUDA runs, its streams, its graphs.

The device finds races, and the faults below show that it does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fae.format.errors import FaeError
from fae_trainer.model import graph_step
from tests.support.captured_graphs import REPLAYS
from tests.support.simulated_cuda import Simulated, simulated
from tests.support.stream_clocks import Event, RaceError, Stream
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import (
    FITS,
    assert_close,
    assert_same,
    chosen,
    run,
    state,
    three_tables,
    trained,
)

Patch = pytest.MonkeyPatch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return three_tables(tmp_path / "data")


def on_host(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: on_host(value) for key, value in found.items()}
    return found.cpu()


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize(
    ("placement", "optimizer"),
    [*((placement, "rowwise_adagrad") for placement in FITS), ("hot-cold", "sgd")],
)
def test_steps_have_the_bits_of_the_cpu(
    data: Path, optimizer: str, placement: str, graph: bool
) -> None:
    given = {"optimizer": optimizer, "placement": placement, "clip_norm": 0.05}
    expected, _ = trained(chosen(data, **given))
    with simulated():
        found, fits = trained(chosen(data, **given, device="cuda", cuda_graph=graph))
        assert_same(on_host(found), expected)
    assert sum(fits) == graph * FITS[placement]
    sizes = 2 if placement == "hot-cold" else 1  # of arrays of cold rows, 2 steps each to warm up
    assert len(REPLAYS) == graph * (FITS[placement] - 2 * sizes)


RUNS = pytest.mark.parametrize(
    "given",
    [
        {"placement": "hot-cold", "epochs": 2, "eval_every": 3, "checkpoint_every": 4},
        {"placement": "fae", "epochs": 2, "schedule": "adaptive", "cache": "device"},
        {"placement": "hybrid", "dtype": "float64", "cache": "none", "optimizer": "sgd"},
    ],
    ids=lambda given: given["placement"],
)
MEASURES = ("valid_auc", "test_auc", "test_logloss", "train_logloss", "syncs")


def runs(data: Path, tmp_path: Path, **given: Any) -> list[dict[str, Any]]:
    """Return metrics and checkpoint of a run on the CPU and of one on the simulated device."""
    expected = run(data, tmp_path / "cpu", **given)
    with simulated():
        found = run(data, tmp_path / "cuda", **{**given, "device": "cuda"})
    states = []
    for name, metrics in (("cpu", expected), ("cuda", found)):
        states.append(state(tmp_path / name))
        assert states[-1].pop("parameters")["device"] == name
        states[-1]["measures"] = {measure: metrics[measure] for measure in MEASURES}
    return states


@RUNS
def test_runs_have_the_bits_of_the_cpu(data: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    expected, found = runs(data, tmp_path, **given)
    assert_same(found, expected)
    assert REPLAYS


@RUNS
def test_runs_on_lists_agree_with_the_cpu(tmp_path: Path, given: dict[str, Any]) -> None:
    """Not in every bit: embedding_bag adds the gradients of a row in an order of its own."""
    write_dataset(tmp_path / "data", RAGGED)
    expected, found = runs(tmp_path / "data", tmp_path, **{**given, "dtype": "float64"})
    assert_close(found, expected, rtol=1e-9)
    assert not REPLAYS


def nothing(*_: Any) -> None:
    """Do none of what is asked."""


def share_gradients(patch: Patch) -> None:
    clone = torch.Tensor.clone

    def shared(self: Tensor) -> Tensor:
        return self if self.dim() == 2 else clone(self)

    patch.setattr(Simulated, "clone", shared, raising=False)


#: What is left out or done wrong, and how.
FAULTS: dict[str, Callable[[Patch], None]] = {
    "rows are used before they came": lambda patch: patch.setattr(Stream, "wait_event", nothing),
    "a gradient leaves too early": lambda patch: patch.setattr(Stream, "wait_stream", nothing),
    "a gradient is used before it came": lambda patch: patch.setattr(Event, "synchronize", nothing),
    "a gradient is overwritten on its way": share_gradients,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_race_is_noticed(data: Path, monkeypatch: Patch, fault: str) -> None:
    monkeypatch.setattr(graph_step, "_WARM_UP_STEPS", 0)
    FAULTS[fault](monkeypatch)
    with pytest.raises(RaceError, match="comes too early"), simulated():
        trained(chosen(data, device="cuda"))


def test_memory_given_away_in_use_is_noticed(data: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Simulated, "record_stream", nothing)
    with pytest.raises(AssertionError, match="memory is given away in use"), simulated():
        trained(chosen(data, device="cuda"))


def test_waiting_in_a_graph_is_refused(data: Path, monkeypatch: Patch) -> None:
    distinct = graph_step.find_distinct

    def waiting(*given: Any) -> tuple[Tensor, Tensor]:
        at, inverse = distinct(*given)
        return at, inverse + at[0].item() * 0

    monkeypatch.setattr(graph_step, "find_distinct", waiting)
    with (
        pytest.raises(FaeError, match=r"Cannot capture the step in a CUDA graph .*capturing"),
        simulated(),
    ):
        trained(chosen(data, device="cuda"))


def test_mixing_host_and_device_is_refused() -> None:
    with simulated(), pytest.raises(RuntimeError, match="on the device and on the host"):
        torch.zeros(3, device="cuda") + torch.zeros(3)
