"""A command's time and memory in processes of its own, and the floor that it is compared with."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLING_SECONDS = 0.2

COPY = (
    "import polars, sys; polars.scan_csv(sys.argv[1], separator='\\t', has_header=False, "
    "quote_char=None).sink_parquet(sys.argv[2])"
)


@dataclass(frozen=True, order=True)
class Measurement:
    """Wall seconds, seconds of processor time, and peak GiB of a command with its descendants.

    The kernel counts those that were waited for; of the others, processor time is what /proc showed
    when they were last seen, five times a second. The peak is the kernel's maximum of one process,
    or the largest sum of proportional set sizes in /proc where that is more.
    """

    seconds: float
    cpu: float
    peak: float

    @property
    def busy(self) -> float:
        """The share of the machine's cores that the command kept busy."""
        return self.cpu / self.seconds / cores()


class CommandFailedError(Exception):
    """A command that ended with an error or ran out of time; the text is its last word."""


class Tree:
    """A process and its descendants, also those that have lost their parents, while they live."""

    def __init__(self, root: int) -> None:
        """Begin with the process `root`."""
        self.members = {(root, started(root))}
        self.ticks: dict[int, int] = {}

    def living(self) -> set[int]:
        """Return the members that are still the same processes."""
        return {pid for pid, begin in self.members if begin and started(pid) == begin}

    def look(self) -> int:
        """Add new descendants; the kB that all hold now, or 0 while there is one process alone."""
        alive = (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())
        parents = {pid: parent(pid) for pid in alive}
        pids = self.living()
        while fresh := {pid for pid, above in parents.items() if above in pids} - pids:
            self.members |= {(pid, started(pid)) for pid in fresh}
            pids |= fresh
        self.ticks |= {pid: max(used(pid), self.ticks.get(pid, 0)) for pid in pids}
        return sum(map(held, pids)) if len(pids) > 1 else 0

    def cpu(self) -> float:
        """Seconds of processor time that all members had used when they were last seen."""
        return sum(self.ticks.values()) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End every member that still lives."""
        self.look()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def parent(pid: int) -> int:
    """Return the parent's id, or 0."""
    fields = status(pid)
    return int(fields[1]) if fields else 0


def started(pid: int) -> int:
    """When a process began, in ticks since boot, or 0; tells it from a later one of the same id."""
    fields = status(pid)
    return int(fields[19]) if fields else 0


def used(pid: int) -> int:
    """Return the processor time that a process itself has used, in ticks."""
    fields = status(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def held(pid: int) -> int:
    """Return the proportional set size of a process in kB, or 0."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measure(command: list[str], words: Path, limit: float = float("inf")) -> Measurement:
    """Run a command, its output going to the file `words`.

    A small process does the measuring, because the kernel counts what a parent holds when it begins
    a child as the child's own. Raises `CommandFailedError` with the last line of the command's
    output, or after `limit` seconds.
    """
    observer = [sys.executable, str(Path(__file__)), str(words), str(limit), *command]
    ended = subprocess.run(observer, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(ended.stdout)
    if found["status"] == "late":
        raise CommandFailedError(f"not finished after {limit:g} s")
    if found["status"]:
        raise CommandFailedError(last_line(words) or f"exited with {found['status']}")
    return Measurement(found["seconds"], found["cpu"], found["peak"])


def observe(command: list[str], words: Path, limit: float) -> dict[str, object]:
    """Run the command and return what `measure` needs to know of it."""
    begin = time.perf_counter()
    over = threading.Event()
    with words.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    tree = Tree(process.pid)
    peaks = [0]

    def watch() -> None:
        while not over.wait(SAMPLING_SECONDS):
            peaks[0] = max(peaks[0], tree.look())
            if time.perf_counter() - begin > limit:
                tree.kill()

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, ended, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    over.set()
    watcher.join()
    tree.kill()
    process.returncode = os.waitstatus_to_exitcode(ended)
    return {
        "status": "late" if seconds > limit else process.returncode,
        "seconds": seconds,
        "cpu": max(tree.cpu(), usage.ru_utime + usage.ru_stime),
        "peak": max(peaks[0], usage.ru_maxrss) / 2**20,
    }


def last_line(words: Path) -> str:
    """Return the last line of a file that is not blank."""
    lines = [line.strip() for line in words.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """Describe the machine in a few words."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{platform.machine()}, {cores()} cores, {pages / 2**30:.0f} GiB, "
        f"Python {platform.python_version()}"
    )


def copy(log: Path, out: Path) -> list[str]:
    """Return the command that copies a TSV log to Parquet with Polars: it parses, no more."""
    return [sys.executable, "-c", COPY, str(log), str(out)]


if __name__ == "__main__":
    print(json.dumps(observe(sys.argv[3:], Path(sys.argv[1]), float(sys.argv[2]))))
