"""What crash tests kill: preparations and trainings of a few hundred rows, and what comes of them.

Inputs lie in one folder that nothing writes to. Each case works in a folder of its own, which
begins as a copy of what the victim needs to be there already.
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
from faults.victim import small_tasks
from tests.support.command_line import fae as run_command
from tests.support.small_logs import SHOP, digests

_ROWS_PER_LOG = 100
_BUDGET = ["--hot-budget", "600", "--rule", "accesses"]
#: Figures of a run that differ from one to the next.
_TIMINGS = ("seconds", "samples_per_second")
_RUN = ["--bottom-mlp", "8-4", "--top-mlp", "8-1", "--batch-size", "16", "--device", "cpu"]
_RUN += ["--threads", "1", "--epochs", "2", "--eval-every", "7", "--checkpoint-every", "3"]


@dataclass(frozen=True)
class Victim:
    """A command to kill: its arguments, and those of commands that are done before.

    `IN` stands for the inputs' folder and `HERE` for the case's own; `kept` are the names that a
    finished run leaves there.
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
        """Whether it makes a run, and not a data set."""
        return self.arguments[0] == "train"

    def command(self, inputs: Path, here: Path, *, alone: bool = False) -> list[str]:
        """The arguments with the folders' paths in them; `alone`, for one thread of one process."""
        given = list(self.arguments)
        if alone and self.dask:
            place = given.index("--workers")
            given[place : place + 2] = ["--threads", "1"]
        return _filled(tuple(given), inputs, here)


def _filled(arguments: tuple[str, ...], inputs: Path, here: Path) -> list[str]:
    return [one.replace("IN", str(inputs)).replace("HERE", str(here)) for one in arguments]


def _prepare(*more: str, logs: str = "IN/day0-*.csv") -> tuple[str, ...]:
    return ("prepare", logs, "--schema", "IN/shop.yaml", "--out", "HERE/out", *_BUDGET, *more)


_FIRST_DAY = _prepare("--keep-work", "--threads", "1")
_ADD = ("prepare", "IN/day1-*.csv", "--append", "--out", "HERE/out")
_KEPT = frozenset({"out", "out.work"})

VICTIMS = [
    Victim("one thread", _prepare("--threads", "1")),
    Victim("gzip, hashed", _prepare(
        "--threads", "1", "--cold-ids", "hashed", "--cold-buckets", "5", logs="IN/day0-*.csv.gz",
    )),
    Victim("append", (*_ADD, "--threads", "1"), (_FIRST_DAY,), _KEPT),
    Victim("train, hot-cold", ("train", "IN/data", "--out", "HERE/out", *_RUN, "--resume")),
    Victim("two threads, inputs", _prepare("--threads", "2", "--rule", "inputs")),
    Victim("keep work", _FIRST_DAY, kept=_KEPT),
    Victim("overwrite", _prepare("--threads", "1", "--overwrite", "--seed", "9"),
           (_prepare("--threads", "1"),)),
    Victim("append, other budget", (*_ADD, "--threads", "2", "--hot-budget", "900", "--keep-work"),
           (_FIRST_DAY,), _KEPT),
    Victim("train, cpu", ("train", "IN/data", "--out", "HERE/out", *_RUN, "--resume",
                          "--placement", "cpu", "--schedule", "adaptive")),
    Victim("one worker", _prepare("--workers", "1")),
    Victim("two workers", _prepare("--workers", "2")),
    Victim("append, two workers", (*_ADD, "--workers", "2"), (_FIRST_DAY,), _KEPT),
]  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A victim with its inputs, the state that it begins from, and what it must end in."""

    victim: Victim
    inputs: Path
    folder: Path

    @cached_property
    def start(self) -> Path:
        """The folder that cases begin as copies of."""
        start = self.folder / "start"
        start.mkdir(parents=True)
        for arguments in self.victim.before:
            _done(_filled(arguments, self.inputs, start))
        return start

    @cached_property
    def former(self) -> dict[str, Any] | None:
        """The finished data set that is there at the beginning, if any."""
        return digests(self.start / "out") if self.victim.before else None

    @cached_property
    def wanted(self) -> dict[str, Any]:
        """What an undisturbed run makes."""
        place = self.begun("undisturbed")
        _done(self.victim.command(self.inputs, place, alone=True))
        return self.made(place)

    def begun(self, name: str) -> Path:
        """A new folder `name` in which the victim can begin."""
        return Path(shutil.copytree(self.start, self.folder / name))

    def made(self, place: Path) -> dict[str, Any]:
        """What the victim has made in a case's folder."""
        return trained(place / "out") if self.victim.trains else digests(place / "out")


def _done(arguments: list[str]) -> None:
    code, said = fae(arguments)
    if code:
        raise RuntimeError(f"fae {' '.join(arguments)} ended with {code}: {said}")


def fae(arguments: list[str]) -> tuple[int, str]:
    """Run `fae` in this process: exit code and what it said to standard error.

    What is no exit is an exit code of -1 with the traceback's last line.
    """
    more = ["--quiet"] if arguments[0] == "train" else []
    try:
        with small_tasks():
            result = run_command(*arguments, *more)
    except Exception as error:
        return -1, f"Traceback: {type(error).__name__}: {error}"
    return result.exit_code, result.stderr


def rows(dataset: Path) -> int:
    """The rows of a finished data set; 0 where there is none."""
    if not (dataset / SUCCESS).exists():
        return 0
    splits = Manifest.read(dataset).splits.values()
    return sum(leaf.rows for leaves in splits for leaf in leaves.values())


def trained(run: Path) -> dict[str, Any]:
    """A run without its timings: the checkpoint with all its tensors as bytes, metrics, curve."""
    document = torch.load(run / "checkpoint.pt", weights_only=True)
    document["history"].pop("seconds")
    document["parameters"].pop("out")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {
        "checkpoint": _plain(document),
        "metrics": {name: value for name, value in metrics.items() if name not in _TIMINGS},
        "curve": (run / "curve.csv").read_text(encoding="utf-8"),
        "files": sorted(path.name for path in run.iterdir()),
    }


def _plain(value: Any) -> Any:
    """The value with each tensor as its type, shape and bytes, so that `==` compares bit by bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def write_inputs(folder: Path, seed: int) -> Path:
    """Logs of two days, plain and compressed, their schema, and a data set to train on."""
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    schema = yaml.safe_dump(SHOP.document(), allow_unicode=True)
    (folder / "shop.yaml").write_text(schema, encoding="utf-8")
    for day, logs in ((0, 5), (1, 3)):
        for number in range(logs):
            name, text = f"day{day}-{number}.csv", _log(draw, (8 * day + number) * _ROWS_PER_LOG)
            (folder / name).write_text(text, encoding="utf-8")
            if not day and number < 3:
                (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    arguments = _filled(_prepare("--threads", "1"), folder, folder)
    _done([one.replace(f"{folder}/out", f"{folder}/data") for one in arguments])
    return folder


def _log(draw: random.Random, first: int) -> str:
    """A hundred rows of the shop, whose cities and items are of few and of many."""
    lines = [",".join(column.name for column in SHOP.fields)]
    for row in range(first, first + _ROWS_PER_LOG):
        city = draw.choice(["", *"abcdefgh", f"city{draw.randrange(200)}"])
        item, *seen = (int(draw.paretovariate(0.7)) % 500 for _ in range(draw.randrange(1, 5)))
        cells = (f"r{row}", draw.randrange(2), 1000 + row, draw.randrange(-1, 50), city, item)
        lines.append(",".join(map(str, (*cells, " ".join(map(str, seen))))))
    return "\n".join(lines) + "\n"
