"""Crashes: kill preparations and trainings at any moment, and check that nothing is lost.

A kill is survived if the only finished data set is the former one or the whole new one, if
`fae verify` and the trainer refuse an unfinished one in one line, and if the same command then ends
in the bytes of an undisturbed run and leaves no other files. Single-threaded workloads are mostly
killed at a system call, which the seed repeats exactly; the others after some time or progress,
which it repeats as far as the machine does.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fae.format.errors import FaeError
from fae.format.manifest import SUCCESS
from faults.killable import count_calls
from faults.kills import (
    LOGGED_STAGES,
    Moment,
    ProcessEnd,
    Timing,
    draw_moment,
    measure_timing,
    run_and_kill,
)
from faults.outcome import Outcome
from faults.workloads import WORKLOADS, Scenario, count_rows, run_fae, write_inputs
from tests.support.small_logs import digests

#: How many of the workloads a short campaign kills, one of each kind, and what counts as short.
_WORKLOADS_IN_SHORT, _SHORT_CAMPAIGN = 4, 20
#: The message of a run whose worker dies before the cluster has started.
_NOT_STARTED = "worker processes ("
#: The exit code and the message of a process that was asked to end.
_EXITS_WHEN_ASKED = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted")}
#: Where each stage's unfinished output is, later stages first.
_UNFINISHED = {
    "partition": "out.partial",
    "calibrate": "out.work/hot_set.partial",
    "profile": "out.work/frequencies.partial",
    "extend": "out.work/extended.partial",
    "ingest": "out.work/new.partial",
    "ingestion": "out.work/staging.partial",
}


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Kill `amount` processes, one workload after the other."""
    outcome, where, how = Outcome(), Counter[str](), Counter[str]()
    inputs = write_inputs(folder / "inputs", seed)
    before = digests(inputs)
    workloads = WORKLOADS[:_WORKLOADS_IN_SHORT] if amount <= _SHORT_CAMPAIGN else WORKLOADS
    stages = [
        _Subject(
            Scenario(workload, inputs, folder / f"workload{number}"),
            short=amount <= _SHORT_CAMPAIGN,
        )
        for number, workload in enumerate(workloads)
    ]
    number = 0
    while outcome.faults < amount:
        case = _Case(stages[number % len(stages)], seed, number, folder / f"case{number}")
        for found in case.run(where, how):
            if found is None:
                outcome.survive()
            else:
                lost = case.lost_rows
                outcome.fail(found, lost_rows=lost, undetected=int("passes for" in found))
        if digests(inputs) != before:
            outcome.fail(f"crashes, seed {seed}, case {number}: the inputs were changed")
        shutil.rmtree(case.place, ignore_errors=True)
        number += 1
    outcome.notes["kills by stage"] = ", ".join(f"{s} {n}" for s, n in sorted(where.items()))
    outcome.notes["kills by kind"] = ", ".join(f"{s} {n}" for s, n in sorted(how.items()))
    return outcome


@dataclass
class _Subject:
    """A scenario and the timing of an undisturbed run; of its calls alone if `short`."""

    scenario: Scenario
    short: bool

    @cached_property
    def timing(self) -> Timing:
        if self.short:
            with count_calls() as calls:
                _ = self.scenario.expected
            return Timing(0, 0, calls[0], 0)
        place = self.scenario.new_folder("measured")
        command = self.scenario.workload.command(self.scenario.inputs, place)
        timing = measure_timing(command, place, _Progress(place))
        if self.scenario.result_in(place) != self.scenario.expected:
            raise RuntimeError(f"{self.scenario.workload.name}: two undisturbed runs differ")
        return timing


@dataclass
class _Case:
    """A workload that is killed once or twice."""

    stage: _Subject
    seed: int
    number: int
    folder: Path
    draw: random.Random = field(init=False)
    lost_rows: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed} {self.number}")

    @cached_property
    def place(self) -> Path:
        return self.stage.scenario.new_folder(f"case{self.number}")

    def run(self, where: Counter[str], how: Counter[str]) -> Iterator[str | None]:
        """Kill, check, and rerun; yield for each kill what is wrong, or None."""
        scenario, workload = self.stage.scenario, self.stage.scenario.workload
        command = workload.command(scenario.inputs, self.place)
        kills = 2 if self.draw.random() < 0.25 else 1
        told: list[str] = []
        for _ in range(kills):
            moment = draw_moment(self.draw, self.stage.timing, dask=workload.dask)
            end = run_and_kill(command, self.place, moment, _Progress(self.place))
            stage = "none: it had ended" if end.code == 0 else _stage_at_death(self.place)
            where[stage] += 1
            how[f"{moment.signal.name} to the {moment.whom}"] += 1
            what = f"{moment}, in {stage}, code {end.code}"
            faults = list(self._seen(moment, end))
            told.append(what)
            if end.code == 0:
                yield self._sentence(told, [*faults, *self._made()])
                return
            if len(told) < kills:
                yield self._sentence(told, faults)
        faults += self._finished()
        yield self._sentence(told, faults)

    def _sentence(self, told: list[str], faults: list[str]) -> str | None:
        if not faults:
            return None
        kills = "; then ".join(told)
        return (
            f"crashes, seed {self.seed}, case {self.number} ({self.stage.scenario.workload.name}), "
            f"{kills}: {'; '.join(faults)}"
        )

    def _seen(self, moment: Moment, end: ProcessEnd) -> Iterator[str]:
        """Yield what is wrong right after a kill."""
        if end.hung:
            yield f"it hung: {end.errors[-300:]}"
        elif moment.signal in _EXITS_WHEN_ASKED and end.code != 0:
            yield from self._asked(moment, end)
        elif moment.whom == "worker" and end.code > 0 and _NOT_STARTED not in end.errors:
            yield f"it did not outlive its worker: {end.errors[-300:]}"
        yield from self._visible(end.code == 0)

    def _asked(self, moment: Moment, end: ProcessEnd) -> Iterator[str]:
        """Yield what is wrong with how a process ended that was asked to."""
        code, word = _EXITS_WHEN_ASKED[moment.signal]
        started = moment.how != "time" or moment.at > 1.2 * self.stage.timing.begins
        if not started and end.code in (-moment.signal, code, 1):
            return
        last = end.errors.strip().splitlines()[-1:] or [""]
        if end.code != code or not last[0].startswith(word) or "Traceback" in end.errors:
            yield f"{end.code} and not {code}: {end.errors[-500:]!r}"
        if locks := sorted(path.name for path in self.place.glob("*.lock")):
            yield f"it left {', '.join(locks)}"

    def _visible(self, finished: bool) -> Iterator[str]:
        """Yield what is wrong with the output that other programs see."""
        scenario, out = self.stage.scenario, self.place / "out"
        if scenario.workload.trains:
            return
        found = digests(out) if out.exists() else {}
        if found == scenario.expected or (found == (scenario.former or {}) and not finished):
            if not found:
                yield from self._refused(out)
            return
        if found:
            names = ", ".join(sorted(found))[:200]
            yield f"out passes for a data set and is neither the former nor the new one: {names}"

    def _refused(self, out: Path) -> Iterator[str]:
        """Yield what is wrong with how readers refuse an unfinished data set."""
        readers = (["verify", str(out)], ["train", str(out), "--out", str(self.place / "none")])
        for arguments in readers:
            code, said = run_fae(arguments)
            if code != 1 or said.count("error: ") != 1 or "Traceback" in said:
                yield f"fae {arguments[0]} on what is unfinished: {code}, {said[-300:]!r}"

    def _finished(self) -> list[str]:
        """Rerun the same command undisturbed, and return what is wrong then."""
        scenario = self.stage.scenario
        code, said = run_fae(scenario.workload.command(scenario.inputs, self.place, alone=True))
        added = code == 1 and "--append" in scenario.workload.arguments and "already" in said
        if code and not added:  # where the killed call had added all, they are there already
            return [f"the rerun ended with {code}: {said[-500:]!r}"]
        return self._made()

    def _made(self) -> list[str]:
        """Return what is wrong with the results of a whole run and the files beside them."""
        scenario, faults = self.stage.scenario, []
        try:
            if scenario.result_in(self.place) != scenario.expected:
                faults.append("its bytes differ from an undisturbed run's")
            if not scenario.workload.trains:
                expected = count_rows(scenario.folder / "undisturbed" / "out")
                self.lost_rows = max(expected - count_rows(self.place / "out"), 0)
        except (FaeError, OSError, ValueError) as error:
            return [f"its output cannot be read: {type(error).__name__}: {error}"]
        left = [path for path in self.place.iterdir() if path.name not in scenario.workload.kept]
        left = [path for path in left if not path.name.endswith(".timings.json")]
        if names := [path.name for path in left if not _harmless(path)]:
            faults.append(f"it left {', '.join(sorted(names))}")
        return faults


def _harmless(path: Path) -> bool:
    """Return whether a kill may leave this: an empty folder, or the lock of a dead process."""
    return (path.is_dir() and not any(path.iterdir())) or path.name.endswith(".lock")


class _Progress:
    """A count of a run's finished tasks, finished stages and saved checkpoints so far."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._seen: set[str] = set()

    def __call__(self) -> int:
        for folder, _, names in os.walk(self._place):
            for name in names:
                if name.endswith((".json", SUCCESS, ".lock")):
                    self._seen.add(f"{folder}/{name}")
        with suppress(FileNotFoundError):
            saved = (self._place / "out" / "checkpoint.pt").stat()
            self._seen.add(f"checkpoint {saved.st_mtime_ns}")
        return len(self._seen)


def _stage_at_death(place: Path) -> str:
    """Return the stage in which a process was killed, as far as its files show."""
    if (place / "out" / "parameters.json").exists():
        saved = (place / "out" / "checkpoint.pt").exists()
        return "train" if saved else "train, before the first checkpoint"
    for stage, partial in _UNFINISHED.items():
        if not (place / partial).exists():
            continue
        if not (place / partial / "made_from").exists():
            return f"{stage}, while it was published"
        task_log = place / partial / "journal.partial"
        seen = [name for name in LOGGED_STAGES if (task_log / name).exists()]
        return seen[-1] if seen else stage
    if (place / "out.work").exists():
        return "between stages"
    return "before or after all stages"
