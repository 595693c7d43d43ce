"""Measure where a run's time goes: for each round of tasks, and for the driver's work in between.

The figures are of whole processes: those of a round of threads hold what the driver and its other
threads did meanwhile. They go to a file beside the output, `OUT.timings.json`, never into it: they
differ from run to run, and the same logs, parameters and seed give the same bytes.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

import psutil

from fae.format.atomic_files import FLUSHES
from fae.storage.folder import Folder, FolderLike

#: The suffix of the file beside an output.
SUFFIX = ".timings.json"
#: The version of that file.
_VERSION = 1
#: What the driver does between rounds and named steps.
DRIVER = "driver"


@dataclass(frozen=True)
class Usage:
    """What a process has used up to a moment, or, as a difference, during some work.

    Bytes are those of calls to read and write, where the system counts them; mapped files count
    only in `disk_bytes_read`, once they come from the disk. `flush_seconds` are spent waiting until
    the disk has a file, in any thread.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    disk_bytes_read: int = 0
    flush_seconds: float = 0.0

    @classmethod
    def now(cls) -> Usage:
        """Return what this process has used; `seconds` are those of the clock."""
        times = os.times()
        counts = _read_io_counters()
        return cls(time.time(), times.user + times.system, *counts, FLUSHES.seconds)

    def __sub__(self, other: Usage) -> Usage:
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Usage(*(max(one - former, 0) for one, former in pairs))

    def __add__(self, other: Usage) -> Usage:
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Usage(*(one + more for one, more in pairs))


def _read_io_counters() -> tuple[int, int, int]:
    """Return the bytes that this process has read, written, and read from disks; else zeros."""
    try:
        counts: Any = _this_process(os.getpid()).io_counters()
        return counts.read_chars, counts.write_chars, counts.read_bytes
    except (AttributeError, OSError, psutil.Error):
        return 0, 0, 0


@cache
def _this_process(number: int) -> psutil.Process:
    return psutil.Process(number)


@dataclass(frozen=True)
class TaskUsage:
    """When a task ran in which process, what that had used by then, and the task's own thread."""

    process: str
    began: Usage
    ended: Usage
    thread_seconds: float


@contextmanager
def measure_task(record: list[TaskUsage], *, whole_process: bool = False) -> Iterator[None]:
    """Append a task's usage to `record` when the block ends.

    Bytes are looked at for the `whole_process` only, since that takes a while.
    """
    look = Usage.now if whole_process else lambda: Usage(time.time())
    began, thread = look(), time.thread_time()
    yield
    process = f"{socket.gethostname()}:{os.getpid()}"
    record.append(TaskUsage(process, began, look(), time.thread_time() - thread))


def add_up_workers(tasks: Sequence[TaskUsage]) -> Usage:
    """Return what workers used while they had tasks; tasks of one worker may overlap."""
    by_process: dict[str, list[TaskUsage]] = defaultdict(list)
    for task in tasks:
        by_process[task.process].append(task)
    total = Usage()
    for own in by_process.values():
        last = Usage()
        for task in sorted(own, key=lambda task: task.began.seconds):
            if task.ended.seconds > last.seconds:
                begin = task.began if task.began.seconds > last.seconds else last
                total += task.ended - begin
                last = task.ended
    return replace(total, seconds=0.0)  # several workers' seconds pass at once


def measure_shortage(tasks: Sequence[TaskUsage], threads: int, seconds: float) -> float:
    """Return in how many of a round's `seconds` fewer tasks ran than there are threads."""
    moments = [(task.began.seconds, 1) for task in tasks]
    moments += [(task.ended.seconds, -1) for task in tasks]
    full, running, last = 0.0, 0, 0.0
    for moment, change in sorted(moments):
        full += moment - last if running >= threads else 0.0
        running, last = running + change, moment
    return max(seconds - full, 0.0)


@dataclass(frozen=True)
class Round:
    """A round of `tasks` on `threads`, or a step of the driver's, which has no tasks.

    `kept` tasks are an earlier run's. `task_seconds` add up over tasks; `thread_seconds` are the
    processor's in the tasks' own threads. In `short_seconds`, fewer tasks than threads ran.
    """

    stage: str
    name: str
    usage: Usage
    tasks: int = 0
    kept: int = 0
    threads: int = 1
    task_seconds: float = 0.0
    thread_seconds: float = 0.0
    longest_thread_seconds: float = 0.0
    short_seconds: float = 0.0

    @property
    def threads_at_work(self) -> float:
        """The mean number of threads that had a task; the driver's step is one."""
        if not self.tasks:
            return 1.0
        return self.task_seconds / self.usage.seconds if self.usage.seconds else 0.0

    @property
    def serial_seconds(self) -> float:
        """The seconds in which not every thread had work."""
        return self.short_seconds if self.tasks else self.usage.seconds


@dataclass
class OpenRound:
    """A round that is running: the usage of its tasks so far, and on how many threads they run."""

    threads: int = 1
    tasks: list[TaskUsage] = field(default_factory=list)
    workers: bool = False


class Timings:
    """The rounds of a run, without gaps: what no round and no step has is the driver's."""

    def __init__(self) -> None:
        self._rounds: list[Round] = []
        self._stage = "start-up"
        self._began_any = False
        self._last = _first_usage()
        self._lock = threading.Lock()

    def begin_stage(self, stage: str) -> None:
        """Count what follows as the work of a stage, which has work to do."""
        self._close_gap()
        self._stage, self._began_any = stage, True

    @contextmanager
    def measure_round(self, name: str, tasks: int, kept: int) -> Iterator[OpenRound]:
        """Measure the block as a round; it says where the tasks run and what each has used."""
        self._close_gap()
        running = OpenRound()
        yield running
        usage = self._take()
        if running.workers:
            usage += add_up_workers(running.tasks)
        spans = [task.ended.seconds - task.began.seconds for task in running.tasks]
        own = [task.thread_seconds for task in running.tasks]
        short = measure_shortage(running.tasks, running.threads, usage.seconds)
        done = Round(
            self._stage,
            name,
            usage,
            tasks,
            kept,
            running.threads,
            *(sum(spans), sum(own), max(own, default=0.0), short),
        )
        self._rounds.append(done)

    @contextmanager
    def measure_step(self, name: str) -> Iterator[None]:
        """Measure the block as a step of the driver's; rounds inside are counted by themselves."""
        self._close_gap()
        try:
            yield
        finally:
            self._close_gap(name)

    def write(self, out: FolderLike) -> None:
        """Write the file beside the output `out` and begin anew; nothing where no stage worked."""
        self._close_gap()
        rounds, self._rounds = self._rounds, []
        if not self._began_any:
            return
        self._began_any, self._stage = False, "start-up"
        cores = len(os.sched_getaffinity(0))
        document = {"version": _VERSION, "cores": cores, "rounds": [asdict(one) for one in rounds]}
        file = Folder.of(out).beside(SUFFIX)
        file.parent.write_text(file.name, json.dumps(document, indent=1) + "\n")

    def _take(self) -> Usage:
        """Return what was used since the last call."""
        now = Usage.now()
        usage, self._last = now - self._last, now
        return usage

    def _close_gap(self, name: str = DRIVER) -> None:
        """Count what was used since the last round as the driver's."""
        usage = self._take()
        for number, former in enumerate(self._rounds):
            if (former.stage, former.name, former.tasks) == (self._stage, name, 0):
                self._rounds[number] = replace(former, usage=former.usage + usage)
                return
        self._rounds.append(Round(self._stage, name, usage))


def read_timings(out: FolderLike) -> list[Round] | None:
    """Return the rounds of the run that made an output; None where no readable file tells them."""
    file = Folder.of(out).beside(SUFFIX)
    try:
        document = json.loads(file.parent.read_text(file.name))
        if document["version"] != _VERSION:
            return None
        return [Round(**{**one, "usage": Usage(**one["usage"])}) for one in document["rounds"]]
    except (OSError, ValueError, LookupError, TypeError):
        return None


#: Whether the first run of this process begins with the process.
_command = threading.Event()


def count_start_up() -> None:
    """Let the first run count from the start of this process, imports included: a command's."""
    _command.set()


def _first_usage() -> Usage:
    """Return the usage from which a run counts: now, or that of a command's start."""
    if not _command.is_set():
        return Usage.now()
    _command.clear()
    return Usage(_this_process(os.getpid()).create_time())
