"""The workloads that campaigns disturb: preparations and trainings of a few hundred rows.

Inputs are in one folder that nothing writes to. Each case works in a folder of its own, which
starts as a copy of what the workload needs to exist already.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from fae.format.manifest import SUCCESS, Manifest
from faults.killable import small_tasks
from tests.support.command_line import fae as run_command
from tests.support.small_logs import SHOP, digests

_ROWS_PER_LOG = 100
BUDGET = ["--hot-budget", "600", "--rule", "accesses"]
#: Measures that differ from one run to the next.
_TIMINGS = ("seconds", "samples_per_second")
TRAINING = ["--bottom-mlp", "8-4", "--top-mlp", "8-1", "--batch-size", "16", "--device", "cpu"]
TRAINING += ["--threads", "1", "--epochs", "2", "--eval-every", "7", "--checkpoint-every", "3"]


@dataclass(frozen=True)
class Workload:
    """A command to disturb: its arguments, and those of the commands that run before it.

    `IN` stands for the folder of the inputs and `HERE` for that of the case; `kept` are the names
    that a finished run leaves there.
    """

    name: str
    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    kept: frozenset[str] = frozenset({"out"})

    @property
    def dask(self) -> bool:
        """Whether worker processes do the tasks."""
        return "--workers" in self.arguments

    @property
    def trains(self) -> bool:
        """Whether it trains, instead of preparing a data set."""
        return self.arguments[0] == "train"

    def command(self, inputs: Path, here: Path, *, alone: bool = False) -> list[str]:
        """Return the arguments with paths filled in; with one thread and no workers if `alone`."""
        given = list(self.arguments)
        if alone and self.dask:
            place = given.index("--workers")
            given[place : place + 2] = ["--threads", "1"]
        return _fill_in(tuple(given), inputs, here)


def _fill_in(arguments: tuple[str, ...], inputs: Path, here: Path) -> list[str]:
    return [one.replace("IN", str(inputs)).replace("HERE", str(here)) for one in arguments]


def _prepare(*more: str, logs: str = "IN/day0-*.csv") -> tuple[str, ...]:
    return ("prepare", logs, "--schema", "IN/shop.yaml", "--out", "HERE/out", *BUDGET, *more)


_FIRST_DAY = _prepare("--keep-work", "--threads", "1")
_ADD = ("prepare", "IN/day1-*.csv", "--append", "--out", "HERE/out")
_KEPT = frozenset({"out", "out.work"})

WORKLOADS = [
    Workload("one thread", _prepare("--threads", "1")),
    Workload("gzip, hashed", _prepare(
        "--threads", "1", "--cold-ids", "hashed", "--cold-buckets", "5", logs="IN/day0-*.csv.gz",
    )),
    Workload("append", (*_ADD, "--threads", "1"), (_FIRST_DAY,), _KEPT),
    Workload("train, hot-cold", ("train", "IN/data", "--out", "HERE/out", *TRAINING, "--resume")),
    Workload("two threads, inputs", _prepare("--threads", "2", "--rule", "inputs")),
    Workload("keep work", _FIRST_DAY, kept=_KEPT),
    Workload("overwrite", _prepare("--threads", "1", "--overwrite", "--seed", "9"),
           (_prepare("--threads", "1"),)),
    Workload("append, other budget",
             (*_ADD, "--threads", "2", "--hot-budget", "900", "--keep-work"), (_FIRST_DAY,), _KEPT),
    Workload("train, cpu", ("train", "IN/data", "--out", "HERE/out", *TRAINING, "--resume",
                          "--placement", "cpu", "--schedule", "adaptive")),
    Workload("one worker", _prepare("--workers", "1")),
    Workload("two workers", _prepare("--workers", "2")),
    Workload("append, two workers", (*_ADD, "--workers", "2"), (_FIRST_DAY,), _KEPT),
]  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """A workload with its inputs, the state that it starts from, and its expected result."""

    workload: Workload
    inputs: Path
    folder: Path

    @cached_property
    def start(self) -> Path:
        """The folder of which each case's folder is a copy at first."""
        start = self.folder / "start"
        start.mkdir(parents=True)
        for arguments in self.workload.before:
            _run_checked(_fill_in(arguments, self.inputs, start))
        return start

    @cached_property
    def former(self) -> dict[str, Any] | None:
        """The digests of the data set that exists at the start, if any."""
        return digests(self.start / "out") if self.workload.before else None

    @cached_property
    def expected(self) -> dict[str, Any]:
        """The result of an undisturbed run."""
        place = self.new_folder("undisturbed")
        _run_checked(self.workload.command(self.inputs, place, alone=True))
        return self.result_in(place)

    def new_folder(self, name: str) -> Path:
        """Make a folder `name` in which the workload can start."""
        return Path(shutil.copytree(self.start, self.folder / name))

    def result_in(self, place: Path) -> dict[str, Any]:
        """Return the workload's result in a case's folder: digests, or the contents of a run."""
        return read_run(place / "out") if self.workload.trains else digests(place / "out")


def _run_checked(arguments: list[str]) -> None:
    code, said = run_fae(arguments)
    if code:
        raise RuntimeError(f"fae {' '.join(arguments)} ended with {code}: {said}")


def run_fae(arguments: list[str]) -> tuple[int, str]:
    """Run `fae` in this process and return its exit code and standard error.

    An exception counts as exit code -1, with the last line of its traceback.
    """
    more = ["--quiet"] if arguments[0] == "train" else []
    try:
        with small_tasks():
            result = run_command(*arguments, *more)
    except Exception as error:
        return -1, f"Traceback: {type(error).__name__}: {error}"
    return result.exit_code, result.stderr


def count_rows(dataset: Path) -> int:
    """Return the rows of a finished data set, 0 if there is none."""
    if not (dataset / SUCCESS).exists():
        return 0
    splits = Manifest.read(dataset).splits.values()
    return sum(leaf.rows for leaves in splits for leaf in leaves.values())


def read_run(run: Path) -> dict[str, Any]:
    """Return the contents of a run without timings: checkpoint, metrics, curve and file names."""
    document = torch.load(run / "checkpoint.pt", weights_only=True)
    document["history"].pop("seconds")
    document["parameters"].pop("out")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {
        "checkpoint": _to_bytes(document),
        "metrics": {name: value for name, value in metrics.items() if name not in _TIMINGS},
        "curve": (run / "curve.csv").read_text(encoding="utf-8"),
        "files": sorted(path.name for path in run.iterdir()),
    }


def _to_bytes(value: Any) -> Any:
    """Replace each tensor by its type, shape and bytes, so that `==` compares bit by bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _to_bytes(one) for key, one in value.items()}
    return [_to_bytes(one) for one in value] if isinstance(value, list) else value


def write_inputs(folder: Path, seed: int) -> Path:
    """Write logs of two days, plain and compressed, their schema, and a data set to train on."""
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    schema = yaml.safe_dump(SHOP.document(), allow_unicode=True)
    (folder / "shop.yaml").write_text(schema, encoding="utf-8")
    for day, logs in ((0, 5), (1, 3)):
        for number in range(logs):
            name, text = (
                f"day{day}-{number}.csv",
                _make_log(draw, (8 * day + number) * _ROWS_PER_LOG),
            )
            (folder / name).write_text(text, encoding="utf-8")
            if not day and number < 3:
                (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    arguments = _fill_in(_prepare("--threads", "1"), folder, folder)
    _run_checked([one.replace(f"{folder}/out", f"{folder}/data") for one in arguments])
    return folder


def _make_log(draw: random.Random, first: int) -> str:
    """Return a log of a hundred rows of the shop, with frequent and rare cities and items."""
    lines = [",".join(column.name for column in SHOP.fields)]
    for row in range(first, first + _ROWS_PER_LOG):
        city = draw.choice(["", *"abcdefgh", f"city{draw.randrange(200)}"])
        item, *seen = (int(draw.paretovariate(0.7)) % 500 for _ in range(draw.randrange(1, 5)))
        cells = (f"r{row}", draw.randrange(2), 1000 + row, draw.randrange(-1, 50), city, item)
        lines.append(",".join(map(str, (*cells, " ".join(map(str, seen))))))
    return "\n".join(lines) + "\n"
