"""The processes that run throughout a soak: a Dask scheduler, two workers and a driver."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from faults.growth import Series
from tests.support.killed_runs import until
from tests.support.project import PYTHONPATH

#: One worker is killed again and again; the other one is measured.
_KILLED, _MEASURED = "killed", "measured"
#: What Dask keeps for a while would hide leaks.
_DASK_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__EVENTS_CLEANUP_DELAY": "10s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


class Fleet:
    """The processes by name, and a series of samples of each that is never killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.address = ""
        self.series: dict[str, Series] = {}
        self.kills = 0
        self._random = random.Random(seed)
        self._started: dict[str, subprocess.Popen[str]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all processes, and kill them and their children when the block ends."""
        with ExitStack() as ends:
            ends.callback(self._end)
            file = self.folder / "scheduler.json"
            words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
            self._start("scheduler", "dask", "scheduler", *words, "--scheduler-file", str(file))
            until(lambda: file.exists() and file.read_text().endswith("}"))
            self.address = json.loads(file.read_text())["address"]
            for name in (_MEASURED, _KILLED):
                self._start_worker(name)
            self._start("driver", "faults.driver")
            yield

    def do(self, arguments: list[str]) -> tuple[int, str]:
        """Run a command in the driver and return its exit code and what it printed."""
        driver = self._started["driver"]
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(json.dumps(arguments) + "\n")
        driver.stdin.flush()
        answer = driver.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"the driver died: {(self.folder / 'driver.log').read_text()[-500:]}"
            )
        code, printed = json.loads(answer)
        return code, printed

    def kill_a_worker(self) -> None:
        """Kill a worker, sometimes together with the nanny that would restart it."""
        nanny = psutil.Process(self._started[_KILLED].pid)
        if self._random.random() < 0.3:
            os.killpg(nanny.pid, signal.SIGKILL)
            self._started[_KILLED].wait()
            self._start_worker(_KILLED)
            self.kills += 1
        else:
            for child in _workers_of(nanny):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
                    self.kills += 1

    def sample(self) -> None:
        """Measure memory and open files of every process that is never killed."""
        for name, started in self._started.items():
            process = psutil.Process(started.pid)
            if name == _KILLED:
                continue
            self._add(name if name != _MEASURED else "nanny", process)
            if name == _MEASURED:
                for worker in _workers_of(process):
                    self._add("worker", worker)

    def _add(self, name: str, process: psutil.Process) -> None:
        series = self.series.setdefault(name, Series())
        series.memory.append(process.memory_info().rss)
        series.files.append(process.num_fds())

    def _start_worker(self, name: str) -> None:
        words = ["worker", self.address, "--nthreads", "1", "--no-dashboard", "--name", name]
        local = self.folder / "dask" / name
        local.mkdir(parents=True, exist_ok=True)
        self._start(name, "dask", *words, "--local-directory", str(local), "--memory-limit", "4GiB")

    def _start(self, name: str, *words: str) -> None:
        """Start a module as a process in a group of its own, with its messages in a file."""
        environment: dict[str, Any] = {**os.environ, **_DASK_SETTINGS, "PYTHONPATH": PYTHONPATH}
        piped = subprocess.PIPE if name == "driver" else subprocess.DEVNULL
        with (self.folder / f"{name}.log").open("a") as log:
            self._started[name] = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=piped,
                stdout=piped,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )

    def _end(self) -> None:
        for started in self._started.values():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(started.pid, signal.SIGKILL)
            for pipe in (started.stdin, started.stdout):
                if pipe is not None:
                    pipe.close()
            started.wait()


def _workers_of(nanny: psutil.Process) -> list[psutil.Process]:
    """Return the worker processes that a nanny has started, without Python's resource tracker."""
    with suppress(psutil.NoSuchProcess):
        return [one for one in nanny.children() if "spawn_main" in " ".join(one.cmdline())]
    return []
