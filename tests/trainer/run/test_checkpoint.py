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
    with pytest.raises(DatasetError, match=r"checkpoint\.pt (is damaged|has param|does not fit)"):
        evaluate(data, tmp_path / "run", "test")
