"""Run a workload in a process group of its own and kill it at a chosen moment."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil

from faults.killable import COUNT, KILL_AT, main
from tests.support.forked import Forked, forked

_POLL = 0.002
#: Seconds after which a process counts as hanging.
HANGS = 120.0
#: The stages whose finished tasks can be seen in a task log.
LOGGED_STAGES = ("ingest", "profile", "calibrate", "scatter", "partition", "drift")


@dataclass(frozen=True)
class Timing:
    """An undisturbed run: the seconds of its first write and of its end, its calls, its progress.

    Only the calls are known if `ends` is 0.
    """

    begins: float
    ends: float
    calls: int
    progress: int


@dataclass(frozen=True)
class Moment:
    """When a process gets which signal: after seconds, at a call, or at some progress.

    `delay` is seconds after the progress; `whom` is "group", "process" or "worker".
    """

    how: str
    at: float
    signal: signal.Signals
    whom: str
    delay: float = 0.0

    def __str__(self) -> str:
        unit = {"time": " s", "call": "", "progress": f" and {self.delay:.3f} s"}[self.how]
        return f"{self.signal.name} to the {self.whom} at {self.how} {self.at:.6g}{unit}"


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended: its exit code (negative for a signal) and standard error."""

    code: int
    errors: str
    hung: bool


def draw_moment(draw: random.Random, timing: Timing, *, dask: bool) -> Moment:
    """Draw a moment: half of the time a call, else uniform over the time or the progress."""
    whom = "group"
    number = draw.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGINT], [8, 1, 1])[0]
    if number == signal.SIGTERM or (number == signal.SIGINT and not dask):
        whom = "process"
    elif dask and number == signal.SIGKILL and draw.random() < 0.3:
        whom = "worker"
    how = draw.choices(["time", "progress", "call"], [3, 3, 0 if dask else 6])[0]
    how = how if timing.ends else "call"
    if how == "call":
        return Moment(how, draw.randint(1, timing.calls), number, whom)
    if how == "time":
        return Moment(how, draw.uniform(0.8 * timing.begins, timing.ends), number, whom)
    return Moment(how, draw.randint(1, timing.progress), number, whom, draw.uniform(0, 0.05))


def measure_timing(command: Sequence[str], place: Path, progress: Callable[[], int]) -> Timing:
    """Run a command undisturbed and return its timing."""
    count = place / "calls"
    started, begins, seen, idle = time.monotonic(), 0.0, 0, progress()
    with _start(command, {COUNT: str(count)}, place) as process:
        while process.poll() is None:
            seen = progress() - idle
            begins = begins or (time.monotonic() - started) * bool(seen)
            time.sleep(_POLL)
    ends = time.monotonic() - started
    if process.poll():
        raise RuntimeError(f"{' '.join(command)} ended with {process.poll()}: {process.errors}")
    (place / "errors").unlink()
    calls = int(count.read_text(encoding="utf-8"))
    count.unlink()
    return Timing(begins or ends / 2, ends, calls, max(seen, 1))


def run_and_kill(
    command: Sequence[str], place: Path, moment: Moment, progress: Callable[[], int]
) -> ProcessEnd:
    """Run a command, kill it at `moment`, and return how it ended; its group is gone then."""
    given = {}
    if moment.how == "call":
        given[KILL_AT] = f"{moment.signal.name} {int(moment.at)}"
    hit, started, reached, idle = moment.how == "call", time.monotonic(), 0.0, progress()
    with _start(command, given, place) as process:
        while process.poll() is None:
            now = time.monotonic() - started
            if now > HANGS:
                break
            if moment.how == "progress" and not reached and progress() - idle >= moment.at:
                reached = now
            due = moment.at if moment.how == "time" else reached + moment.delay
            if not hit and due <= now and (moment.how == "time" or reached):
                hit = _send_signal(process.pid, moment)
            time.sleep(_POLL)
        hung = process.poll() is None
        process.kill()
    code, errors = process.wait(), process.errors
    assert code is not None
    (place / "errors").unlink()
    return ProcessEnd(code, errors, hung)


def _start(
    command: Sequence[str], more: dict[str, str], place: Path
) -> AbstractContextManager[Forked]:
    """Start a killable process with its messages in the file `errors`."""
    environment = {**more, "COLUMNS": "200"}
    return forked(main, command, errors=place / "errors", environment=environment)


def _send_signal(pid: int, moment: Moment) -> bool:
    """Send the signal and return whether there was a process to get it."""
    try:
        if moment.whom == "group":
            os.killpg(pid, moment.signal)
        elif moment.whom == "process":
            os.kill(pid, moment.signal)
        else:
            workers = [
                child
                for child in psutil.Process(pid).children(recursive=True)
                if "spawn_main" in " ".join(child.cmdline())
            ]
            if not workers:
                return False
            workers[0].kill()
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    return True
