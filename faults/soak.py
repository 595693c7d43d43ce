"""Soak: preparing, training and adding again and again under faults, on processes that live on.

Each cycle must end in the bytes of an undisturbed one, and processes must not grow from cycle to
cycle, in memory or in open files.
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
from faults.programs import ended
from faults.visits import SCHEMA, visits
from tests.support.object_store import asked, object_store
from tests.support.small_logs import digests

#: What memory (bytes) and open files may grow by in a cycle, over the second half of a soak. Dask's
#: scheduler keeps a name and a span of each client for ever, 0.06 MiB, of which a cycle has three.
TOLERANCE = 0.2 * MIB, 0.02
OF_DASK = {"scheduler": (0.3 * MIB, 0.02)}
_ROWS = 6000
_SEEDS = 3
#: Seconds from which a soak takes more than one seed.
_LONG = 60
#: The share of the object store's requests that fail or dawdle.
_SPOILT = 0.02
_STORE = "s3://data/soak"
_PREPARE = ("--hot-budget", "200KiB")
_MODEL = ("--bottom-mlp", "24-16", "--top-mlp", "24-1", "--batch-size", "256")
_QUIETLY = ("--device", "cpu", "--threads", "1", "--quiet")

#: What a cycle makes, by the name that a message has for it.
Made = Iterator[tuple[str, dict[str, Any]]]


class DifferentError(Exception):
    """A cycle did not make what an undisturbed one does."""


@dataclass(frozen=True)
class Days:
    """The logs of two days, at paths or URLs, and what is made of them undisturbed."""

    schema: Path
    logs: tuple[str, str]
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)

    def prepare(self, do: Do, logs: tuple[str, ...], out: str, *more: str) -> None:
        """Prepare some of the logs, by the command `do`."""
        arguments = ["prepare", *logs, "--schema", str(self.schema), *_PREPARE, "--out", out]
        do([*arguments, *more])


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Do cycles for `amount` seconds, but one at least, and each kind before any comes again."""
    rng, outcome, kinds = random.Random(seed), Outcome(), Counter[str]()
    fleet, end = Fleet(folder, seed), time.monotonic() + amount
    with object_store(_SPOILT, seed) as endpoint, fleet.running():
        seeds = range(seed, seed + (_SEEDS if amount >= _LONG else 1))
        every = [undisturbed(one, folder / f"days-{one}", fleet) for one in seeds]
        while time.monotonic() < end or not kinds:
            new = [kind for kind in KINDS if kind not in kinds]
            kind = new[0] if new else rng.choice(list(KINDS))
            kinds[kind] += 1
            what = f"soak, seed {seed}, cycle {kinds.total()} ({kind})"
            disturbance = Disturbance(rng, fleet)
            outcome += cycle(what, kind, rng.choice(every), disturbance, fleet, folder / "cycle")
            fleet.sample()
        spoilt = asked(endpoint, "/faults")
    outcome += judged(seed, fleet)
    outcome.notes["soak"] = (
        f"{kinds.total():,} cycles of {2 * _ROWS:,} rows, {outcome.faults:,} kills, "
        f"{spoilt.pop('answered'):,} requests answered and {sum(spoilt.values()):,} spoilt"
    )
    return outcome


def judged(seed: int, fleet: Fleet) -> Outcome:
    """What grew, as failures; memory and open files of each process, as notes."""
    outcome = Outcome()
    for name, series in fleet.series.items():
        outcome.notes[f"soak, {name}"] = str(series)
        if grown := series.grown(*OF_DASK.get(name, TOLERANCE)):
            outcome.fail(f"soak, seed {seed}, {name}: {grown}: {series}")
    return outcome


def undisturbed(seed: int, folder: Path, fleet: Fleet) -> Days:
    """Two days of visits in `folder`, with what comes of them in every kind of cycle."""
    folder.mkdir()
    days = Days(folder / "visits.yaml", (str(folder / "day_1.log"), str(folder / "day_2.log")))
    days.schema.write_text(SCHEMA, encoding="utf-8")
    for day, log in enumerate(days.logs):
        Path(log).write_bytes(visits(seed, day, _ROWS))

    def do(arguments: list[str]) -> None:
        code, printed = fleet.do(arguments)
        if code:
            raise ended(arguments[0], code, printed)

    for name, made in day_by_day(do, days, folder / "cycle", ["--threads", "2"]):
        days.expected[name] = made
    days.prepare(do, days.logs, str(folder / "once"))
    days.expected["both days at once"] = digests(folder / "once")
    return days


def day_by_day(do: Do, days: Days, place: Path, where: list[str]) -> Made:
    """A day prepared and trained on, the next one added, the model carried over and trained on."""
    place.mkdir()
    data, first, second = (str(place / name) for name in ("data", "first", "second"))
    days.prepare(do, days.logs[:1], data, "--keep-work", *where)
    yield "the first day", digests(data)
    do(["train", data, "--out", first, *_MODEL, *_QUIETLY])
    yield "the first model", _measures(first)
    do(["prepare", days.logs[1], "--append", "--keep-work", "--out", data, *where])
    yield "the second day", digests(data)
    do(["import", first, "--data", data, "--out", second])
    do(["train", data, "--out", second, "--resume", "--epochs", "2", *_QUIETLY])
    yield "the second model", _measures(second)
    do(["verify", data])


def at_once(do: Do, days: Days, place: Path, where: list[str]) -> Made:
    """Both days prepared at once, into the object store."""
    place.mkdir()
    days.prepare(do, days.logs, f"{_STORE}/data", *where)
    yield "both days at once", digests(f"{_STORE}/data")
    do(["verify", f"{_STORE}/data"])


#: A kind of cycle: whether the driver that lives on does it, where the logs are, and what is done.
KINDS = {
    "by the driver": (True, "disk", day_by_day),
    "by programs": (False, "disk", day_by_day),
    "logs in the store": (True, "store", day_by_day),
    "all in the store": (True, "store", at_once),
    "all in the store, by programs": (False, "store", at_once),
}


def cycle(
    what: str, kind: str, days: Days, disturbance: Disturbance, fleet: Fleet, place: Path
) -> Outcome:
    """One cycle with faults, which are survived if it makes what an undisturbed one does."""
    outcome, before = Outcome(), disturbance.faults
    driven, logs, way = KINDS[kind]
    do = disturbance.by_driver if driven else disturbance.by_program
    try:
        here = _uploaded(days) if logs == "store" else days
        for name, made in way(do, here, place, ["--scheduler", fleet.address]):
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
        Folder.of(_STORE).remove(Folder.of(_STORE).names())
    for left in place.parent.glob(f"{place.name}*"):
        shutil.rmtree(left)
    return outcome


def _uploaded(days: Days) -> Days:
    """The same days, their logs in the object store."""
    store = Folder.of(f"{_STORE}/logs")
    for log in days.logs:
        with store.write(Path(log).name) as path:
            shutil.copyfile(log, path)
    first, second = (f"{store}/{Path(log).name}" for log in days.logs)
    return Days(days.schema, (first, second))


def _measures(run: str) -> dict[str, Any]:
    """What a run measured, without clocks."""
    metrics = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in metrics.items() if "second" not in name}
