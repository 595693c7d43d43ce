"""Checkpoints: damage, contradictions and other data sets are named."""

from __future__ import annotations

import dataclasses
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fae.api.export import export
from fae.format.errors import DatasetError, FaeError
from fae_trainer.run.checkpoint import load_table_weights
from fae_trainer.run.evaluate import evaluate
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    return tmp_path / "data"


def test_another_data_set_is_refused(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    write_dataset(tmp_path / "other", dataclasses.replace(RAGGED, seed=1))
    for act in (
        lambda: run(tmp_path / "other", tmp_path / "run", resume=True),
        lambda: evaluate(tmp_path / "other", tmp_path / "run", "test"),
    ):
        with pytest.raises(DatasetError, match="ids mean other values"):
            act()


def test_a_damaged_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"checkpoint\.pt is damaged"):
        run(data, tmp_path / "run", resume=True)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"checkpoint\.pt is damaged"):
        load_table_weights(tmp_path / "run")
    torch.save({"weights": 1}, path)
    with pytest.raises(DatasetError, match="is not a checkpoint of this program"):
        load_table_weights(tmp_path / "run")
    with pytest.raises(DatasetError, match=r"has no checkpoint\.pt"):
        load_table_weights(tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_former(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(data, out, epochs=1)
    former = (out / "checkpoint.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(FaeError, match=r"Cannot write .*checkpoint\.pt .*the disk is full"):
            run(data, out, epochs=2, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (out / "checkpoint.pt").read_bytes() == former
    assert not list(out.glob("*.partial"))


def test_a_flipped_bit_of_a_checkpoint_is_found(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        contents = {
            info.header_offset: archive.read(info)
            for info in archive.infolist()
            if info.filename.endswith(("/data.pkl", "/data/0", "/data/1", "/data/9"))
        }
    assert len(contents) == 4
    for offset, content in contents.items():
        at = whole.index(content, offset) + len(content) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        for act in (
            lambda: run(data, tmp_path / "run", resume=True),
            lambda: evaluate(data, tmp_path / "run", "test"),
            lambda: load_table_weights(tmp_path / "run"),
        ):
            with pytest.raises(DatasetError, match=r"checkpoint\.pt is damaged"):
                act()


def _without_bias(document: dict[str, Any]) -> None:
    document["network"].pop("bottom.0.bias")


@pytest.mark.parametrize(
    "change",
    [
        _without_bias,
        lambda document: document["rows"].pop("items"),
        lambda document: document["states"].update(items=torch.zeros(1, 1)),
        lambda document: document["parameters"].update(devmce="cpu"),
        lambda document: document["rows"].update(a=torch.zeros(1, 4)),
        lambda document: document.update(rows=7),
        lambda document: document.pop("history"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_one_line(
    data: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    run(data, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    document = torch.load(path, weights_only=True)
    change(document)
    torch.save(document, path)
    told = r"checkpoint\.pt(:| is damaged| has param| does not fit)"
    with pytest.raises(DatasetError, match=told):
        evaluate(data, tmp_path / "run", "test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a run on it, which tests must not change."""
    place = tmp_path_factory.mktemp("trained")
    write_dataset(place / "data", RAGGED)
    run(place / "data", place / "run")
    return place


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (("parameters", "lr"), "0.1", r"parameters: lr: expected float, found '0\.1'"),
        (("parameters", "lr"), -1.0, r"parameters: --lr is -1\.0; it must be above 0"),
        (("parameters", "top_mlp"), [2**40, 1], r"parameters: --top-mlp is 1099511627776-1"),
        (("parameters", "threads"), 2**40, "parameters: --threads is 1099511627776"),
        (("parameters", "seed"), None, "parameters: seed: expected int, found None"),
        (("history",), [], "history: expected the keys .*, found list"),
        (("history", "step"), -1, "history: step: expected int, found -1"),
        (("history", "samples"), 0, "history: 1 epochs, but no samples, time or curve"),
        (("history", "curve"), [], "history: 1 epochs, but no samples, time or curve"),
        (
            ("history", "curve"),
            [[1, 2, "x", None, None]],
            "history: curve: train_logloss: expected float",
        ),
        (("history", "feedback"), [float("nan")], r"feedback\[0\]: expected float, found nan"),
        (("history", "position"), 2**40, "position 1099511627776 is none of an epoch of"),
        (("rows", "a"), [0.0], "rows are not a matrix for each table"),
        (("rows", "a"), torch.zeros(1, 4), "table 'a' has 1 x 4, and the data set 50 x 4"),
        (("rows", "a"), torch.zeros(50, 4, dtype=torch.int8), "rows are not a matrix"),
    ],
)
def test_a_forged_entry_of_a_checkpoint_is_named(
    trained: Path, tmp_path: Path, keys: tuple[str, ...], value: Any, told: str
) -> None:
    document = torch.load(trained / "run" / "checkpoint.pt", weights_only=True)
    holder = document
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = value
    out = tmp_path / "run"
    out.mkdir()
    torch.save(document, out / "checkpoint.pt")
    with pytest.raises(DatasetError, match=rf"checkpoint\.pt: .*{told}"):
        run(trained / "data", out, resume=True, epochs=2)


def test_rows_that_are_no_numbers_are_not_exported(trained: Path, tmp_path: Path) -> None:
    document = torch.load(trained / "run" / "checkpoint.pt", weights_only=True)
    document["rows"]["a"][3] = torch.nan
    torch.save(document, tmp_path / "checkpoint.pt")
    with pytest.raises(DatasetError, match="table 'a' has values that are not finite"):
        export(trained / "data", tmp_path, tmp_path / "out")
