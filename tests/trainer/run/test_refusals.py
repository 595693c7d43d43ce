"""What a run refuses, and how it says so."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fae.format.errors import DatasetError, FaeError, ParameterError
from fae.format.manifest import Manifest
from fae_trainer.__main__ import main
from fae_trainer.parameters import check_row_cost, resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.checkpoint import load_table_weights
from fae_trainer.run.evaluate import evaluate
from fae_trainer.run.train import train
from tests.support.trainer_data import RAGGED, Column, Shape, write_dataset
from tests.support.trainer_runs import SMALL, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    return tmp_path / "data"


def test_a_run_is_not_replaced_unasked(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    with pytest.raises(ParameterError, match=r"already holds a run.*--resume.*--overwrite"):
        run(data, tmp_path / "run")
    with pytest.raises(ParameterError, match="--epochs"):
        run(data, tmp_path / "run", overwrite=True, epochs=0)
    assert checkpoint.load(tmp_path / "run").parameters["seed"] == 0
    run(data, tmp_path / "run", overwrite=True, seed=9)
    assert checkpoint.load(tmp_path / "run").parameters["seed"] == 9
    with pytest.raises(ParameterError, match="exclude each other"):
        run(data, tmp_path / "run", overwrite=True, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 8},
        {"top_mlp": (9, 1)},
        {"lr": 0.5},
        {"optimizer": "sgd"},
        {"schedule": "phases"},
    ],
)
def test_a_resumed_run_keeps_what_decides_it(
    data: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    run(data, tmp_path / "run")
    with pytest.raises(ParameterError, match="--" + next(iter(change)).replace("_", "-")):
        run(data, tmp_path / "run", resume=True, **change)


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


@pytest.mark.parametrize("part", ["data.pkl", "data/0", "data/1", "data/9"])
def test_a_flipped_bit_of_a_checkpoint_is_found(data: Path, tmp_path: Path, part: str) -> None:
    run(data, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        (info,) = [one for one in archive.infolist() if one.filename.endswith(f"/{part}")]
        content = archive.read(info)
    whole = path.read_bytes()
    at = whole.index(content, info.header_offset) + len(content) // 2
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


def test_a_checksum_is_compared_where_it_is_asked_for(data: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(data)
    run(data, tmp_path / "whole", verify=True)
    for split in ("train", "test"):
        file = manifest.splits[split]["cold"].files[1]
        content = bytearray((data / file.path).read_bytes())
        content[content.rindex(b"parquet-cpp")] ^= 32  # the writer's name: harmless in itself
        (data / file.path).write_bytes(content)
        run(data, tmp_path / "unasked", overwrite=True)
        with pytest.raises(DatasetError, match=rf"{file.path} is damaged: its sha256"):
            run(data, tmp_path / split, verify=True)
        with pytest.raises(DatasetError, match=rf"{file.path} is damaged: its sha256"):
            evaluate(data, tmp_path / "whole", split, verify=True)
        content[content.rindex(b"Parquet-cpp")] ^= 32
        (data / file.path).write_bytes(content)


def test_a_file_of_another_size_is_found_before_training(data: Path, tmp_path: Path) -> None:
    file = Manifest.read(data).splits["test"]["hot"].files[0]
    with (data / file.path).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(
        DatasetError, match=rf"{file.path} is damaged: .* bytes, not {file.bytes:,}"
    ):
        run(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FaeError, match=r"The loss is (nan|inf) at step \d+ .*epoch 0, batch \d+"):
        run(data, tmp_path / "run", optimizer="sgd", lr=1e30, dense_lr=1e30, epochs=3)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_one_class_and_empty_splits_are_null_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data", Shape(eval_rows=0))
    given = {"data": str(tmp_path / "data"), "out": str(tmp_path / "run"), **SMALL}
    metrics = train(given)
    assert metrics["valid_auc"] is None
    assert "valid_auc is undefined" in capsys.readouterr().err
    assert '"test_logloss": null' in (tmp_path / "run" / "metrics.json").read_text()
    assert (tmp_path / "run" / "curve.csv").read_text().splitlines()[1].endswith(",,")


def test_an_adaptive_schedule_needs_rows_to_validate_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(eval_rows=0))
    with pytest.raises(DatasetError, match=r"no valid rows.*--schedule adaptive"):
        run(tmp_path / "data", tmp_path / "run", schedule="adaptive")
    assert not (tmp_path / "run").exists()


def test_unequal_dimensions_are_refused(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    tables = (dataclasses.replace(manifest.tables[0], dim=8), *manifest.tables[1:])
    dataclasses.replace(manifest, tables=tables).write(tmp_path / "data")
    with pytest.raises(DatasetError, match=r"one dimension.*a 8, b 4"):
        run(tmp_path / "data", tmp_path / "run")


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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "required"),
        (["train", "DATA"], 2, "--out"),
        (["train", "DATA", "--out", "RUN", "--placement", "moon"], 2, "invalid choice"),
        (["train", "DATA", "--out", "RUN", "--bottom-mlp", "8-x"], 2, "not a list of widths"),
        (["train", "absent", "--out", "RUN"], 1, "error: absent is not a finished data set"),
        (["train", "DATA", "--out", "RUN", "--epochs", "0"], 1, "error: --epochs is 0"),
        (["train", "DATA", "--out", "RUN", "--batch-size", "0"], 1, "error: --batch-size is 0"),
        (["train", "DATA", "--out", "RUN", "--lr", "nan"], 1, "error: --lr is nan"),
        (["train", "DATA", "--out", "RUN", "--seed", "-1"], 1, "error: --seed is -1"),
        (
            ["train", "DATA", "--out", "RUN", "--bottom-mlp", "8-5"],
            1,
            "error: --bottom-mlp 8-5 must end in 4",
        ),
        (["train", "DATA", "--out", "RUN", "--top-mlp", "8-2"], 1, "error: --top-mlp is 8-2"),
        (["train", "DATA", "--out", "FILE"], 1, "is a file"),
        (["evaluate", "DATA", "--run", "RUN"], 1, "error: .*has no checkpoint.pt"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    (tmp_path / "file").touch()
    names = {"DATA": str(data), "RUN": str(tmp_path / "run"), "FILE": str(tmp_path / "file")}
    try:
        found = main([names.get(argument, argument) for argument in arguments])
    except SystemExit as usage:
        found = usage.code
    printed = capsys.readouterr()
    assert found == code
    assert printed.out == ""
    assert re.search(message, printed.err), printed.err
    if code == 1:
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_every_option_has_its_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--placement" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_absent_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no CUDA device"):
        run(data, tmp_path / "run", device="cuda")
