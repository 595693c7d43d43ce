"""Repeat a training on a CPU and check that it gives the same model, bit for bit.

The number of torch threads must be the same: it decides the order of additions in a matrix product.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from faults.outcome import Outcome
from faults.programs import FAE, TRAINER, Launch, run_program
from tests.support.trainer_runs import assert_same, state

Run = Callable[[Path, Path], Path]
MODEL = ("--bottom-mlp", "24-16", "--top-mlp", "24-1", "--batch-size", "512", "--device", "cpu")
_EPOCHS = ("--epochs", "2", "--quiet")
#: Parameters and measures that say how or where a run trained, and not what it learned.
_HOW = ("data", "threads", "cache", "cuda_graph", "eval_every")
_CLOCKS = ("seconds", "samples_per_second", "placement", "syncs", "sync_bytes", "sync_seconds")


def trained(
    data: Path, place: Path, *more: str, module: str = TRAINER, launch: Launch | None = None
) -> Path:
    """Train for two epochs with one thread in `place` and return the run; `more` are options."""
    launch = launch or Launch(place)
    arguments: list[str | Path] = [
        "train",
        data,
        "--out",
        place / "run",
        *MODEL,
        *_EPOCHS,
        "--threads",
        "1",
        *more,
    ]
    run_program(module, *arguments, launch=launch)
    return place / "run"


def other_hash_seed(data: Path, place: Path) -> Path:
    """Change the seed of Python's hashes, the time zone, the locale and OpenMP's threads."""
    changed = {
        "PYTHONHASHSEED": str(random.randrange(2**32)),
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
    }
    return trained(data, place, launch=Launch(place, changed))


def elsewhere(data: Path, place: Path) -> Path:
    """Train on a copy of the data set, at a relative path, with files written in another order."""
    names = sorted(path.relative_to(data) for path in data.rglob("*") if path.is_file())
    for name in reversed(names):
        (place / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / name, place / "copy" / name)
    return trained(Path("copy"), place)


def one_core(data: Path, place: Path) -> Path:
    """Use one core, where the loader decodes one row group at a time."""
    core = str(min(os.sched_getaffinity(0)))
    return trained(data, place, launch=Launch(place, prefix=("taskset", "-c", core)))


def resumed(data: Path, place: Path) -> Path:
    """Stop after an epoch and resume."""
    trained(data, place, "--epochs", "1")
    return trained(data, place, "--resume")


def _with(*more: str, module: str = TRAINER) -> Run:
    return lambda data, place: trained(data, place, *more, module=module)


RUNS: dict[str, Run] = {
    "once more": _with(),
    "hash seed": other_hash_seed,
    "fae train": _with(module=FAE),
    "cache none": _with("--cache", "none"),
    "cache host": _with("--cache", "host"),
    "elsewhere": elsewhere,
    "one core": one_core,
    "resumed": resumed,
    "placement cpu": _with("--placement", "cpu"),
    "placement fae": _with("--placement", "fae"),
}


def repeat_training(
    seed: int, data: Path, folder: Path, runs: Mapping[str, Run] = RUNS, threads: int = 3
) -> Outcome:
    """Train on a data set once and then in each way of `runs`, and compare model and measures.

    Results of more torch threads, up to `threads`, are noted and not counted.
    """
    outcome = Outcome()
    folder.mkdir(parents=True)
    expected = contents(trained(data, _made(folder / "first")))
    for name, again in runs.items():
        what = f"determinism, seed {seed}, training, {name}"
        try:
            assert_same(expected, contents(again(data, _made(folder / name))))
        except AssertionError:
            outcome.fail(f"{what}: model or measures differ")
        except Exception as error:  # a run that fails is a finding, and the others are tried
            outcome.fail(f"{what}: {error}")
        else:
            outcome.survive()
    for number in range(2, threads + 1):
        run = trained(data, _made(folder / f"{number}"), "--threads", str(number))
        logloss = json.loads((run / "metrics.json").read_text())["test_logloss"]
        apart = abs(logloss - expected["metrics"]["test_logloss"])
        outcome.notes[f"test logloss of {number} threads and of one"] = f"{apart:.1e} apart"
    return outcome


def contents(run: Path) -> dict[str, Any]:
    """Return all that a run has learned and measured, without timings and paths."""
    found: dict[str, Any] = state(run)
    for name in _HOW:
        found["parameters"].pop(name, None)
    metrics = json.loads((run / "metrics.json").read_text())
    found["metrics"] = {name: value for name, value in metrics.items() if name not in _CLOCKS}
    found["curve"] = (run / "curve.csv").read_text()
    return found


def _made(place: Path) -> Path:
    place.mkdir()
    return place
