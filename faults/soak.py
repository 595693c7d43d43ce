"""Soak: prepare, train and append again and again under faults, in long-lived processes.

Each cycle must end in the bytes of an undisturbed one, and the processes must not grow from cycle
to cycle, in memory or in open files.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fae.storage.folder import Folder
from faults.disturbance import Disturbance, Do
from faults.fleet import Fleet
from faults.growth import MIB
from faults.outcome import Outcome
from faults.programs import program_error
from faults.visits import SCHEMA, visits
from tests.support.object_store import asked, object_store
from tests.support.small_logs import digests

#: How much memory (bytes) and how many open files a cycle may add over the second half of a soak.
#: Dask's scheduler keeps 0.06 MiB of each client for ever, and a cycle has three clients.
GROWTH_LIMITS = 0.2 * MIB, 0.02
DASK_GROWTH_LIMITS = {"scheduler": (0.3 * MIB, 0.02)}
_ROWS = 6000
_SEEDS = 3
#: A soak that is this long uses several seeds.
_SEVERAL_SEEDS_SECONDS = 60
#: The share of the object store's requests that fail or are slow.
_FAILING_SHARE = 0.02
_STORE = "s3://data/soak"
_PREPARE = ("--hot-budget", "200KiB")
_MODEL = ("--bottom-mlp", "24-16", "--top-mlp", "24-1", "--batch-size", "256")
_QUIETLY = ("--device", "cpu", "--threads", "1", "--quiet")

#: The results of a cycle, each with its name in messages.
Results = Iterator[tuple[str, dict[str, Any]]]


class DifferentError(Exception):
    """A cycle ended in other results than an undisturbed one."""


@dataclass(frozen=True)
class Days:
    """The logs of two days, at paths or URLs, and the results of undisturbed cycles."""

    schema: Path
    logs: tuple[str, str]
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)

    def prepare(self, do: Do, logs: tuple[str, ...], out: str, *more: str) -> None:
        """Prepare some of the logs by calling `do`."""
        arguments = ["prepare", *logs, "--schema", str(self.schema), *_PREPARE, "--out", out]
        do([*arguments, *more])


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Run cycles for `amount` seconds, at least one, and each kind once before any repeats."""
    rng, outcome, kinds = random.Random(seed), Outcome(), Counter[str]()
    fleet, end = Fleet(folder, seed), time.monotonic() + amount
    with object_store(_FAILING_SHARE, seed) as endpoint, fleet.running():
        seeds = range(seed, seed + (_SEEDS if amount >= _SEVERAL_SEEDS_SECONDS else 1))
        every = [prepare_undisturbed(one, folder / f"days-{one}", fleet) for one in seeds]
        while time.monotonic() < end or not kinds:
            new = [kind for kind in KINDS if kind not in kinds]
            kind = new[0] if new else rng.choice(list(KINDS))
            kinds[kind] += 1
            what = f"soak, seed {seed}, cycle {kinds.total()} ({kind})"
            disturbance = Disturbance(rng, fleet)
            outcome += run_cycle(
                what, kind, rng.choice(every), disturbance, fleet, folder / "cycle"
            )
            fleet.sample()
        failed = asked(endpoint, "/faults")
    outcome += judge_growth(seed, fleet)
    outcome.notes["soak"] = (
        f"{kinds.total():,} cycles of {2 * _ROWS:,} rows, {outcome.faults:,} kills, "
        f"{failed.pop('answered'):,} requests answered and {sum(failed.values()):,} failed"
    )
    return outcome


def judge_growth(seed: int, fleet: Fleet) -> Outcome:
    """Return growth as failures, and memory and open files of each process as notes."""
    outcome = Outcome()
    for name, series in fleet.series.items():
        outcome.notes[f"soak, {name}"] = str(series)
        if growth := series.describe_growth(*DASK_GROWTH_LIMITS.get(name, GROWTH_LIMITS)):
            outcome.fail(f"soak, seed {seed}, {name}: {growth}: {series}")
    return outcome


def prepare_undisturbed(seed: int, folder: Path, fleet: Fleet) -> Days:
    """Write two days of visits to `folder` and run each kind of cycle on them undisturbed."""
    folder.mkdir()
    days = Days(folder / "visits.yaml", (str(folder / "day_1.log"), str(folder / "day_2.log")))
    days.schema.write_text(SCHEMA, encoding="utf-8")
    for day, log in enumerate(days.logs):
        Path(log).write_bytes(visits(seed, day, _ROWS))

    def do(arguments: list[str]) -> None:
        code, printed = fleet.do(arguments)
        if code:
            raise program_error(arguments[0], code, printed)

    for name, made in prepare_day_by_day(do, days, folder / "cycle", ["--threads", "2"]):
        days.expected[name] = made
    days.prepare(do, days.logs, str(folder / "once"))
    days.expected["both days at once"] = digests(folder / "once")
    return days


def prepare_day_by_day(do: Do, days: Days, place: Path, where: list[str]) -> Results:
    """Prepare a day, train, append the next day, import the model and train on; yield results."""
    place.mkdir()
    data, first, second = (str(place / name) for name in ("data", "first", "second"))
    days.prepare(do, days.logs[:1], data, "--keep-work", *where)
    yield "the first day", digests(data)
    do(["train", data, "--out", first, *_MODEL, *_QUIETLY])
    yield "the first model", _read_measures(first)
    do(["prepare", days.logs[1], "--append", "--keep-work", "--out", data, *where])
    yield "the second day", digests(data)
    do(["import", first, "--data", data, "--out", second])
    do(["train", data, "--out", second, "--resume", "--epochs", "2", *_QUIETLY])
    yield "the second model", _read_measures(second)
    do(["verify", data])


def prepare_at_once(do: Do, days: Days, place: Path, where: list[str]) -> Results:
    """Prepare both days at once, into the object store; yield the result."""
    place.mkdir()
    days.prepare(do, days.logs, f"{_STORE}/data", *where)
    yield "both days at once", digests(f"{_STORE}/data")
    do(["verify", f"{_STORE}/data"])


#: Kinds of cycle: whether the long-lived driver runs it, where the logs are, and its steps.
KINDS = {
    "by the driver": (True, "disk", prepare_day_by_day),
    "by programs": (False, "disk", prepare_day_by_day),
    "logs in the store": (True, "store", prepare_day_by_day),
    "all in the store": (True, "store", prepare_at_once),
    "all in the store, by programs": (False, "store", prepare_at_once),
}


def run_cycle(
    what: str, kind: str, days: Days, disturbance: Disturbance, fleet: Fleet, place: Path
) -> Outcome:
    """Run a cycle with faults, which are survived if its results are the undisturbed ones."""
    outcome, before = Outcome(), disturbance.faults
    driven, logs, steps = KINDS[kind]
    do = disturbance.run_in_driver if driven else disturbance.run_as_program
    try:
        here = _upload(days) if logs == "store" else days
        for name, made in steps(do, here, place, ["--scheduler", fleet.address]):
            expected = days.expected[name]
            if made != expected:
                unlike = [n for n in {*made, *expected} if made.get(n) != expected.get(n)]
                raise DifferentError(f"{name} differs: {', '.join(sorted(unlike)[:5])}")
    except Exception as error:  # whatever a cycle meets is a finding, and the next one begins
        outcome.fail(f"{what}: {type(error).__name__}: {error}")
    else:
        for _ in range(disturbance.faults - before):
            outcome.survive()
    if logs == "store":
        Folder.of(_STORE).remove(Folder.of(_STORE).list_files())
    for left in place.parent.glob(f"{place.name}*"):
        shutil.rmtree(left)
    return outcome


def _upload(days: Days) -> Days:
    """Copy the logs into the object store and return the days with their URLs."""
    store = Folder.of(f"{_STORE}/logs")
    for log in days.logs:
        with store.write(Path(log).name) as path:
            shutil.copyfile(log, path)
    first, second = (f"{store}/{Path(log).name}" for log in days.logs)
    return Days(days.schema, (first, second))


def _read_measures(run: str) -> dict[str, Any]:
    """Return what a run measured, without timings."""
    metrics = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in metrics.items() if "second" not in name}
