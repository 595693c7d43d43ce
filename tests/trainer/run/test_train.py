"""Whole runs: what they write, how they stop and how they go on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fae.format.errors import DatasetError, FaeError, ParameterError
from fae.format.manifest import Manifest
from fae_trainer.__main__ import main
from fae_trainer.embedding.distributed import ALONE
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import PLACEMENTS
from fae_trainer.run import checkpoint
from fae_trainer.run.checkpoint import load_table_weights
from fae_trainer.run.evaluate import evaluate, predict
from fae_trainer.run.metrics import area_under_curve
from fae_trainer.run.train import open_loaders, train
from tests.support.forked import forked
from tests.support.project import PYTHONPATH, ROOT
from tests.support.trainer_data import RAGGED, SEVERAL_DIMS, Shape, write_dataset
from tests.support.trainer_runs import OPTIONS, SMALL, assert_same, chosen, run, state


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    return tmp_path / "data"


def test_a_run_writes_its_files_and_no_others(data: Path, tmp_path: Path) -> None:
    metrics = run(data, tmp_path / "run", epochs=2, eval_every=5)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint.pt", "metrics.json", "curve.csv", "parameters.json"}
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    assert metrics["train_samples"] == 2 * 220
    assert metrics["hot_share"] == pytest.approx(90 / 220)
    assert metrics["optimizer"] == "rowwise_adagrad"
    assert all(not isinstance(value, dict | list) for value in metrics.values())
    header, *lines = (tmp_path / "run" / "curve.csv").read_text().splitlines()
    assert header == "step,samples,train_logloss,valid_logloss,valid_auc"
    steps = [int(line.split(",")[0]) for line in lines]
    assert steps == [5, 10, 15, 20, 25, 30]
    assert float(lines[-1].split(",")[3]) == metrics["valid_logloss"]
    assert json.loads((tmp_path / "run" / "parameters.json").read_text())["batch_size"] == 16


def test_training_learns_the_planted_signal(tmp_path: Path) -> None:
    shape = Shape(hot=3000, cold=3000, eval_rows=1000, group=1000)
    for optimizer in ("sgd", "rowwise_adagrad"):
        write_dataset(tmp_path / optimizer, shape)
        given = {"optimizer": optimizer, "epochs": 4, "batch_size": 32}
        metrics = run(tmp_path / optimizer, tmp_path / f"run-{optimizer}", **given)
        assert metrics["test_auc"] > 0.8
        assert metrics["test_logloss"] < 0.6


def test_training_learns_without_dense_features(tmp_path: Path) -> None:
    shape = Shape(hot=3000, cold=3000, eval_rows=1000, group=1000, dense=0)
    write_dataset(tmp_path / "data", shape)
    given = {"data": str(tmp_path / "data"), "out": str(tmp_path / "run"), "device": "cpu"}
    metrics = train({**given, "top_mlp": (8, 1), "batch_size": 32, "epochs": 3}, quiet=True)
    assert metrics["test_auc"] > 0.8
    with pytest.raises(ParameterError, match="no dense features"):
        train({**given, "bottom_mlp": (4,)}, overwrite=True)


@pytest.mark.parametrize(
    ("schedule", "stop"),
    [
        ("interleaved", 1),  # before the first checkpoint
        ("interleaved", 16),  # at the start of the second epoch
        ("shuffled", 15),  # at the end of the first epoch
        ("adaptive", 7),
        ("adaptive", 23),
    ],
)
def test_a_resumed_run_equals_one_without_a_break(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, schedule: str
) -> None:
    options = {"epochs": 2, "eval_every": 4, "seed": 5, "schedule": schedule}
    options["mixed_windows"] = 2 if schedule == "adaptive" else 1
    whole = run(data, tmp_path / "whole", **options)
    step, steps = Recommender.step, 0

    def broken(*arguments: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Recommender, "step", broken)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "broken", checkpoint_every=3, placement="gpu", **options)
    assert not (tmp_path / "broken" / "metrics.json").exists()
    assert not list((tmp_path / "broken").glob("*.partial"))
    metrics = train(
        {"data": str(data), "out": str(tmp_path / "broken"), "placement": "hot-cold"}
        | (options | SMALL if stop < 3 else {}),
        resume=True,
        quiet=True,
    )
    assert_same(state(tmp_path / "broken"), state(tmp_path / "whole"))
    curves = [(tmp_path / name / "curve.csv").read_text() for name in ("broken", "whole")]
    assert curves[0] == curves[1]
    timings = ("seconds", "samples_per_second", "sync_seconds")
    assert {k: v for k, v in metrics.items() if k not in timings} == {
        k: v for k, v in whole.items() if k not in timings
    }


def test_mixed_windows_reach_the_loader_and_no_other_run(data: Path) -> None:
    mixed = chosen(data, mixed_windows=2)
    loaders = open_loaders(Manifest.read(data), mixed, ALONE, None)
    assert loaders["train"].state_dict()["mixed_windows"] == 2
    assert mixed.to_document()["mixed_windows"] == 2
    assert "mixed_windows" not in chosen(data).to_document()
    with pytest.raises(ParameterError, match="--mixed-windows is 0; it must be at least 1"):
        chosen(data, mixed_windows=0)


def test_tables_of_several_dims_train_resume_and_score(tmp_path: Path) -> None:
    data = tmp_path / "data"
    manifest = write_dataset(data, SEVERAL_DIMS)
    given = {"schedule": "interleaved", "optimizer": "rowwise_adagrad"}
    whole = run(data, tmp_path / "whole", epochs=2, placement="fae", **given)
    copied = sum(table.hot_rows * (table.dim + 1) * 4 for table in manifest.tables)
    assert whole["sync_bytes"] == whole["syncs"] / 3 * copied
    run(data, tmp_path / "run", placement="gpu", **given)
    run(data, tmp_path / "run", epochs=2, placement="hot-cold", resume=True)
    assert_same(state(tmp_path / "run"), state(tmp_path / "whole"))
    dims = {name: rows.shape[1] for name, rows in load_table_weights(tmp_path / "run").items()}
    assert dims == {"a": 8, "items": 4, "c": 2}
    assert {"projections.8.weight", "projections.2.weight"} < set(
        checkpoint.load(tmp_path / "run").network
    )
    for placement in PLACEMENTS:
        found = evaluate(data, tmp_path / "run", "test", placement=placement, device="cpu")
        assert found["test_logloss"] == whole["test_logloss"]
    label, chance = predict(data, tmp_path / "run", "test")
    assert area_under_curve(label, chance) == pytest.approx(whole["test_auc"])


def test_more_epochs_continue_a_finished_run(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole", epochs=3, eval_every=6)
    run(data, tmp_path / "grown", epochs=1, eval_every=6)
    run(data, tmp_path / "grown", epochs=3, resume=True)
    assert_same(state(tmp_path / "grown"), state(tmp_path / "whole"))


def train_and_block(arguments: list[str], blocked: Path) -> None:
    """Train; at the seventh step make the file `blocked` and wait to be ended."""
    step, steps = Recommender.step, 0

    def blocking(*given: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 7:
            blocked.touch()
            threading.Event().wait()
        return step(*given)

    Recommender.step = blocking  # type: ignore[method-assign]
    sys.exit(main(arguments))


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_killed_process_leaves_a_run_to_resume(
    data: Path, tmp_path: Path, kind: signal.Signals, code: int
) -> None:
    out, blocked = tmp_path / "run", tmp_path / "blocked"
    train_it = ["train", str(data), "--out", str(out), "--checkpoint-every", "1", *OPTIONS]
    with forked(train_and_block, train_it, blocked, errors=tmp_path / "errors") as process:
        while not blocked.exists() and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, kind)
        assert process.wait(timeout=60) == code, process
        assert "Traceback" not in process.errors
    assert not (out / "metrics.json").exists()
    assert checkpoint.load(out).history["step"] == 6
    assert not list(out.glob("*.partial"))
    assert main(["train", str(data), "--out", str(out), "--resume", "--quiet"]) == 0
    run(data, tmp_path / "whole")
    assert_same(state(out), state(tmp_path / "whole"))


def test_the_trainer_runs_without_data_engines(data: Path, tmp_path: Path) -> None:
    block = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"polars", "dask", "distributed", "typer", "rich", "pydantic"}:
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import fae_trainer.parameters, fae_trainer.arguments
assert "torch" not in sys.modules
assert fae_trainer.HotColdLoader is sys.modules["fae_trainer.data.loader"].HotColdLoader
"""
    out = tmp_path / "run"
    main_program = "from fae_trainer.__main__ import main\nsys.exit(main())"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            block + main_program,
            "train",
            str(data),
            "--out",
            str(out),
            *OPTIONS,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "log loss" in done.stdout
    assert str(out / "metrics.json") in done.stdout
    run(data, tmp_path / "here")
    assert_same(state(out), state(tmp_path / "here"))  # where Python hashes otherwise


def test_evaluating_a_run_gives_its_own_measures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run(data, tmp_path / "run")
    for placement in PLACEMENTS:
        found = evaluate(data, tmp_path / "run", "test", placement=placement, device="cpu")
        assert found == {
            **{f"test_{m}": metrics[f"test_{m}"] for m in ("logloss", "auc", "accuracy")},
            "test_samples": 80,
        }
    arguments = ["evaluate", str(data), "--run", str(tmp_path / "run"), "--split", "valid"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["valid_logloss"] == metrics["valid_logloss"]
    assert json.loads((tmp_path / "run" / "evaluation-valid.json").read_text()) == printed
    elsewhere = tmp_path / "measures" / "valid.json"
    again = ["evaluate", str(data), "--run", str(tmp_path / "run"), "--split", "valid"]
    assert main([*again, "--out", str(elsewhere)]) == 0
    assert json.loads(elsewhere.read_text()) == printed
    label, chance = predict(data, tmp_path / "run", "test")
    assert ((chance > 0) & (chance < 1)).all()
    assert area_under_curve(label, chance) == pytest.approx(metrics["test_auc"])


def test_weights_are_in_the_order_of_ids(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "cold", placement="cpu")
    run(data, tmp_path / "both", placement="hot-cold")
    cold, both = load_table_weights(tmp_path / "cold"), load_table_weights(tmp_path / "both")
    assert {name: rows.shape for name, rows in both.items()} == {
        "a": (50, 4),
        "items": (60, 4),
        "c": (30, 4),
    }
    assert all(np.array_equal(cold[name], both[name]) for name in both)


@pytest.mark.parametrize("program", ["fae_trainer", "fae"])
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_torch_is_imported_ends_the_program_after_the_import(
    tmp_path: Path, program: str, asked: signal.Signals
) -> None:
    slow = "import time; print('loading', flush=True); time.sleep(1); print('loaded', flush=True)"
    (tmp_path / "torch.py").write_text(slow, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", program, "train", "data", "--out", "out"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PYTHONPATH}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(asked)
        said, errors = process.communicate(timeout=30)
    assert (process.returncode, said) == (128 + asked, b"loaded\n")
    assert b"the last checkpoint, if any, is kept" in errors
    assert b"Traceback" not in errors


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
