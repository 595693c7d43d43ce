"""Parameters: defaults from the data set, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from fae.format.errors import DatasetError, ParameterError
from fae.format.manifest import Manifest
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import check_row_cost, resolve_parameters
from tests.support.trainer_data import RAGGED, Column, Shape, write_dataset
from tests.support.trainer_runs import SMALL, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    return tmp_path / "data"


def test_a_resumed_run_keeps_what_decides_it(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"batch_size": 8},
        {"top_mlp": (9, 1)},
        {"lr": 0.5},
        {"optimizer": "sgd"},
        {"schedule": "phases"},
        {"mixed_windows": 2},
    ]
    for change in changes:
        with pytest.raises(ParameterError, match="--" + next(iter(change)).replace("_", "-")):
            run(data, tmp_path / "run", resume=True, **change)


def test_an_adaptive_schedule_needs_rows_to_validate_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(eval_rows=0))
    with pytest.raises(DatasetError, match=r"no valid rows.*--schedule adaptive"):
        run(tmp_path / "data", tmp_path / "run", schedule="adaptive")
    assert not (tmp_path / "run").exists()


def test_the_network_has_the_largest_dim_unless_told(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape(dims={"a": 8, "c": 2}))
    assert resolve_parameters({"data": "", "out": ""}, manifest).bottom_mlp == (512, 256, 64, 8)
    told = resolve_parameters({"data": "", "out": "", "bottom_mlp": (8, 3)}, manifest)
    assert told.bottom_mlp == (8, 3)
    with pytest.raises(ParameterError, match="--bottom-mlp needs widths"):
        resolve_parameters({"data": "", "out": "", "bottom_mlp": ()}, manifest)


def test_rows_of_several_dims_are_counted_by_their_own(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape(dims={"a": 8, "c": 2}))
    given = {"data": "", "out": "", **SMALL}
    assert check_row_cost(manifest, resolve_parameters(given, manifest)) is None
    p = resolve_parameters({**given, "optimizer": "rowwise_adagrad"}, manifest)
    warning = check_row_cost(manifest, p)
    assert warning is not None
    assert "takes 12 or 20 or 36 bytes, but the data set's hot budget counted 8 or 16" in warning
    assert f"the 32 hot rows take {10 * 36 + 22 * 20} bytes of a budget of" in warning


def test_a_dimension_without_a_feature_is_refused(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape(dims={"a": 8}))
    features = dataclasses.replace(manifest.features, sparse=manifest.features.sparse[1:])
    without = dataclasses.replace(manifest, features=features)
    with pytest.raises(DatasetError, match="No feature has a table of dim 8"):
        Recommender(without, resolve_parameters({"data": "", "out": "", **SMALL}, without))


def test_the_optimizer_is_the_one_that_the_budget_counted(tmp_path: Path) -> None:
    for counted, chosen in (("sgd", "sgd"), ("adam", "rowwise_adagrad")):
        manifest = write_dataset(tmp_path / counted, Shape(optimizer=counted))
        p = resolve_parameters({"data": "", "out": "", **SMALL}, manifest)
        assert p.optimizer == chosen
        assert check_row_cost(manifest, p) is None
    manifest = Manifest.read(tmp_path / "sgd")
    p = resolve_parameters(
        {"data": "", "out": "", **SMALL, "optimizer": "rowwise_adagrad"}, manifest
    )
    warning = check_row_cost(manifest, p)
    assert warning is not None
    assert "takes 20 bytes" in warning
    assert "counted 16" in warning
    assert "the 32 hot rows take 640 bytes of a budget of 512" in warning


def test_the_presets_have_the_published_layers(tmp_path: Path) -> None:
    manifest = write_dataset(
        tmp_path / "data", Shape(dim=64, tables={"a": (5, 5)}, columns=(Column("a"),))
    )
    layers = {
        model: dataclasses.astuple(
            resolve_parameters({"data": "", "out": "", "model": model}, manifest)
        )
        for model in ("kaggle", "terabyte")
    }
    assert layers["kaggle"][2:4] == ((512, 256, 64, 64), (512, 256, 1))
    assert layers["terabyte"][2:4] == ((512, 256, 64), (512, 512, 256, 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_absent_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no CUDA device"):
        run(data, tmp_path / "run", device="cuda")
