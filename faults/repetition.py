"""Repetition: a training once more gives the same model, bit for bit, on a CPU.

The number of threads of torch must be the same: it decides in which order a matrix product adds.
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
from faults.programs import FAE, TRAINER, Way, ran
from tests.support.trainer_runs import assert_same, state

Run = Callable[[Path, Path], Path]
MODEL = ("--bottom-mlp", "24-16", "--top-mlp", "24-1", "--batch-size", "512", "--device", "cpu")
_EPOCHS = ("--epochs", "2", "--quiet")
#: Parameters and measures that say how a run went, or where, and not what it learnt.
_HOW = ("data", "threads", "cache", "cuda_graph", "eval_every")
_CLOCKS = ("seconds", "samples_per_second", "placement", "syncs", "sync_bytes", "sync_seconds")


def trained(
    data: Path, place: Path, *more: str, module: str = TRAINER, way: Way | None = None
) -> Path:
    """A run of two epochs in one thread, in `place`; `more` are further options."""
    way = way or Way(place)
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
    ran(module, *arguments, way=way)
    return place / "run"


def hashed_anew(data: Path, place: Path) -> Path:
    """Python's hashes are others, and so is the environment."""
    changed = {
        "PYTHONHASHSEED": str(random.randrange(2**32)),
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
    }
    return trained(data, place, way=Way(place, changed))


def elsewhere(data: Path, place: Path) -> Path:
    """Another folder, by a relative path, of a copy whose files were written in another order."""
    names = sorted(path.relative_to(data) for path in data.rglob("*") if path.is_file())
    for name in reversed(names):
        (place / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / name, place / "copy" / name)
    return trained(Path("copy"), place)


def one_core(data: Path, place: Path) -> Path:
    """One core, where the loader decodes one row group at a time."""
    core = str(min(os.sched_getaffinity(0)))
    return trained(data, place, way=Way(place, prefix=("taskset", "-c", core)))


def resumed(data: Path, place: Path) -> Path:
    """Stopped after an epoch and resumed."""
    trained(data, place, "--epochs", "1")
    return trained(data, place, "--resume")


def _with(*more: str, module: str = TRAINER) -> Run:
    return lambda data, place: trained(data, place, *more, module=module)


RUNS: dict[str, Run] = {
    "once more": _with(),
    "hash seed": hashed_anew,
    "fae train": _with(module=FAE),
    "cache none": _with("--cache", "none"),
    "cache host": _with("--cache", "host"),
    "elsewhere": elsewhere,
    "one core": one_core,
    "resumed": resumed,
    "placement cpu": _with("--placement", "cpu"),
    "placement fae": _with("--placement", "fae"),
}


def repeated(
    seed: int, data: Path, folder: Path, runs: Mapping[str, Run] = RUNS, threads: int = 3
) -> Outcome:
    """Train on the data set `data` once and then in each way, and compare model and measures.

    Other numbers of torch's threads up to `threads` are noted, not counted.
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
    """All that a run has learnt and measured, without clocks and places."""
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
