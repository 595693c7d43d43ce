"""Crashes: preparations and trainings that are killed at any instant lose and change nothing.

A kill is survived if nothing that looks finished is to be seen but the former data set or the whole
new one, if `fae verify` and the trainer refuse what is unfinished in one line, and if the same
command then ends in the bytes of an undisturbed run, with nothing beside them. Single-threaded
victims are mostly killed at a call of theirs, which the seed repeats exactly; the others after a
time or at some progress, which it repeats as far as machines do.
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
from faults.kills import JOURNALED, Ended, Instant, Pace, drawn, killed, measured
from faults.outcome import Outcome
from faults.victim import counted
from faults.victims import VICTIMS, Scene, fae, rows, write_inputs
from tests.support.small_logs import digests

#: Victims that a short campaign is content with: one of each kind.
_FEW, _SHORT = 4, 20
#: What a run says, and ends, where a worker dies before the cluster is there.
_NOT_BEGUN = "worker processes could not be started"
#: What a process that was asked to end says, and its exit code.
_ASKED = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted")}
#: Where an unfinished output lies while a stage makes it, later ones first.
_PARTIALS = {
    "partition": "out.partial",
    "calibrate": "out.work/hot_set.partial",
    "profile": "out.work/frequencies.partial",
    "extend": "out.work/extended.partial",
    "ingest": "out.work/new.partial",
    "ingestion": "out.work/staging.partial",
}


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Kill `amount` processes, of victims in turn."""
    outcome, where, how = Outcome(), Counter[str](), Counter[str]()
    inputs = write_inputs(folder / "inputs", seed)
    before = digests(inputs)
    victims = VICTIMS[:_FEW] if amount <= _SHORT else VICTIMS
    stages = [
        _Stage(Scene(victim, inputs, folder / f"victim{number}"), short=amount <= _SHORT)
        for number, victim in enumerate(victims)
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
class _Stage:
    """A scene, and how an undisturbed run of it goes; in `short`, its calls alone."""

    scene: Scene
    short: bool

    @cached_property
    def pace(self) -> Pace:
        if self.short:
            with counted() as calls:
                _ = self.scene.wanted
            return Pace(0, 0, calls[0], 0)
        place = self.scene.begun("measured")
        command = self.scene.victim.command(self.scene.inputs, place)
        pace = measured(command, place, _Progress(place))
        if self.scene.made(place) != self.scene.wanted:
            raise RuntimeError(f"{self.scene.victim.name}: two undisturbed runs differ")
        return pace


@dataclass
class _Case:
    """One victim, killed once or twice."""

    stage: _Stage
    seed: int
    number: int
    folder: Path
    draw: random.Random = field(init=False)
    lost_rows: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed} {self.number}")

    @cached_property
    def place(self) -> Path:
        return self.stage.scene.begun(f"case{self.number}")

    def run(self, where: Counter[str], how: Counter[str]) -> Iterator[str | None]:
        """Kill, look, and finish: for each kill None or what is wrong."""
        scene, victim = self.stage.scene, self.stage.scene.victim
        command = victim.command(scene.inputs, self.place)
        kills = 2 if self.draw.random() < 0.25 else 1
        told: list[str] = []
        for _ in range(kills):
            instant = drawn(self.draw, self.stage.pace, dask=victim.dask)
            ended = killed(command, self.place, instant, _Progress(self.place))
            stage = "none: it had ended" if ended.code == 0 else _stage_of(self.place)
            where[stage] += 1
            how[f"{instant.signal.name} to the {instant.whom}"] += 1
            what = f"{instant}, in {stage}, code {ended.code}"
            faults = list(self._seen(instant, ended))
            told.append(what)
            if ended.code == 0:
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
            f"crashes, seed {self.seed}, case {self.number} ({self.stage.scene.victim.name}), "
            f"{kills}: {'; '.join(faults)}"
        )

    def _seen(self, instant: Instant, ended: Ended) -> Iterator[str]:
        """What is wrong right after a kill."""
        if ended.hung:
            yield f"it hung: {ended.errors[-300:]}"
        elif instant.signal in _ASKED and ended.code != 0:
            yield from self._asked(instant, ended)
        elif instant.whom == "worker" and ended.code > 0 and _NOT_BEGUN not in ended.errors:
            yield f"it did not outlive its worker: {ended.errors[-300:]}"
        yield from self._visible(ended.code == 0)

    def _asked(self, instant: Instant, ended: Ended) -> Iterator[str]:
        """What is wrong with the end of a process that was asked to end, once it had begun."""
        code, word = _ASKED[instant.signal]
        begun = instant.how != "time" or instant.at > 1.2 * self.stage.pace.begins
        if not begun and ended.code in (-instant.signal, code, 1):
            return
        last = ended.errors.strip().splitlines()[-1:] or [""]
        if ended.code != code or not last[0].startswith(word) or "Traceback" in ended.errors:
            yield f"{ended.code} and not {code}: {ended.errors[-500:]!r}"
        if locks := sorted(path.name for path in self.place.glob("*.lock")):
            yield f"it left {', '.join(locks)}"

    def _visible(self, finished: bool) -> Iterator[str]:
        """What is wrong with what can be seen of the output."""
        scene, out = self.stage.scene, self.place / "out"
        if scene.victim.trains:
            return
        found = digests(out) if out.exists() else {}
        if found == scene.wanted or (found == (scene.former or {}) and not finished):
            if not found:
                yield from self._refused(out)
            return
        if found:
            names = ", ".join(sorted(found))[:200]
            yield f"out passes for a data set and is neither the former nor the new one: {names}"

    def _refused(self, out: Path) -> Iterator[str]:
        """What is wrong with how readers refuse an unfinished data set."""
        readers = (["verify", str(out)], ["train", str(out), "--out", str(self.place / "none")])
        for arguments in readers:
            code, said = fae(arguments)
            if code != 1 or said.count("error: ") != 1 or "Traceback" in said:
                yield f"fae {arguments[0]} on what is unfinished: {code}, {said[-300:]!r}"

    def _finished(self) -> list[str]:
        """What is wrong once the same command has run again without a fault."""
        scene = self.stage.scene
        code, said = fae(scene.victim.command(scene.inputs, self.place, alone=True))
        added = code == 1 and "--append" in scene.victim.arguments and "already" in said
        if code and not added:  # where the killed call had added all, they are there already
            return [f"the rerun ended with {code}: {said[-500:]!r}"]
        return self._made()

    def _made(self) -> list[str]:
        """What is wrong with what a whole run has made, and with what lies beside it."""
        scene, faults = self.stage.scene, []
        try:
            if scene.made(self.place) != scene.wanted:
                faults.append("its bytes differ from an undisturbed run's")
            if not scene.victim.trains:
                expected = rows(scene.folder / "undisturbed" / "out")
                self.lost_rows = max(expected - rows(self.place / "out"), 0)
        except (FaeError, OSError, ValueError) as error:
            return [f"its output cannot be read: {type(error).__name__}: {error}"]
        left = [path for path in self.place.iterdir() if path.name not in scene.victim.kept]
        if names := [path.name for path in left if not _harmless(path)]:
            faults.append(f"it left {', '.join(sorted(names))}")
        return faults


def _harmless(path: Path) -> bool:
    """Whether a kill may leave this: an empty folder, or a dead process's lock."""
    return (path.is_dir() and not any(path.iterdir())) or path.name.endswith(".lock")


class _Progress:
    """What has been seen of a run's progress: finished tasks and stages, saved checkpoints."""

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


def _stage_of(place: Path) -> str:
    """The stage that a killed process was in, as far as what it left tells."""
    if (place / "out" / "parameters.json").exists():
        saved = (place / "out" / "checkpoint.pt").exists()
        return "train" if saved else "train, before the first checkpoint"
    for stage, partial in _PARTIALS.items():
        if not (place / partial).exists():
            continue
        if not (place / partial / "made_from").exists():
            return f"{stage}, when it took its place"
        task_log = place / partial / "journal.partial"
        seen = [name for name in JOURNALED if (task_log / name).exists()]
        return seen[-1] if seen else stage
    if (place / "out.work").exists():
        return "between stages"
    return "before or after all stages"
