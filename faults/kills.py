"""Kills: a process of its own group, the instants at which it dies, and what it leaves running."""

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

from faults.victim import COUNT, KILL_AT, main
from tests.support.forked import Forked, forked

_POLL = 0.002
#: Seconds after which a process counts as hanging.
HANGS = 120.0
#: The stages whose finished tasks can be seen in a journal.
JOURNALED = ("ingest", "profile", "calibrate", "scatter", "partition", "vocabulary", "drift")


@dataclass(frozen=True)
class Pace:
    """An undisturbed run: when it had begun to write, when it ended, its calls, its progress.

    Only the calls are known where `ends` is 0.
    """

    begins: float
    ends: float
    calls: int
    progress: int


@dataclass(frozen=True)
class Instant:
    """When a process gets which signal: after seconds, at a call, or at so much progress.

    `delay` is what passes from the progress on; `whom` is group, process or worker.
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
class Ended:
    """How a process ended: its code (negative for a signal), its messages."""

    code: int
    errors: str
    hung: bool


def drawn(draw: random.Random, pace: Pace, *, dask: bool) -> Instant:
    """An instant: half of them a call, the others uniform over the time or over the progress."""
    whom = "group"
    number = draw.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGINT], [8, 1, 1])[0]
    if number == signal.SIGTERM or (number == signal.SIGINT and not dask):
        whom = "process"
    elif dask and number == signal.SIGKILL and draw.random() < 0.3:
        whom = "worker"
    how = draw.choices(["time", "progress", "call"], [3, 3, 0 if dask else 6])[0]
    how = how if pace.ends else "call"
    if how == "call":
        return Instant(how, draw.randint(1, pace.calls), number, whom)
    if how == "time":
        return Instant(how, draw.uniform(0.8 * pace.begins, pace.ends), number, whom)
    return Instant(how, draw.randint(1, pace.progress), number, whom, draw.uniform(0, 0.05))


def measured(command: Sequence[str], place: Path, progress: Callable[[], int]) -> Pace:
    """Run a command to its end."""
    count = place / "calls"
    started, begins, seen, idle = time.monotonic(), 0.0, 0, progress()
    with _started(command, {COUNT: str(count)}, place) as process:
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
    return Pace(begins or ends / 2, ends, calls, max(seen, 1))


def killed(
    command: Sequence[str], place: Path, instant: Instant, progress: Callable[[], int]
) -> Ended:
    """Run a command and kill it; the whole group is gone afterwards."""
    given = {}
    if instant.how == "call":
        given[KILL_AT] = f"{instant.signal.name} {int(instant.at)}"
    hit, started, reached, idle = instant.how == "call", time.monotonic(), 0.0, progress()
    with _started(command, given, place) as process:
        while process.poll() is None:
            now = time.monotonic() - started
            if now > HANGS:
                break
            if instant.how == "progress" and not reached and progress() - idle >= instant.at:
                reached = now
            due = instant.at if instant.how == "time" else reached + instant.delay
            if not hit and due <= now and (instant.how == "time" or reached):
                hit = _send(process.pid, instant)
            time.sleep(_POLL)
        hung = process.poll() is None
        process.kill()
    code, errors = process.wait(), process.errors
    assert code is not None
    (place / "errors").unlink()
    return Ended(code, errors, hung)


def _started(
    command: Sequence[str], more: dict[str, str], place: Path
) -> AbstractContextManager[Forked]:
    """A victim with its messages in the file `errors`, in a group of its own."""
    environment = {**more, "COLUMNS": "200"}
    return forked(main, command, errors=place / "errors", environment=environment)


def _send(pid: int, instant: Instant) -> bool:
    """Send the signal; whether there was somebody to get it."""
    try:
        if instant.whom == "group":
            os.killpg(pid, instant.signal)
        elif instant.whom == "process":
            os.kill(pid, instant.signal)
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
