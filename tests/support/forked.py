"""Processes that are forked from one which has imported the libraries, so that each starts at once.

They are like processes of their own in all that kills, signals and exit codes are about, but begin
with the modules in `PRELOADED` imported. What the start of a program is about needs a real one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Imported once per test process, the kernels last. None starts threads that a fork would miss.
PRELOADED = [
    "pytest",
    "fae.cli.commands",
    "fae.appending.append",
    "torch._dynamo",
    "fae_trainer.__main__",
    "tests.support.loaded_kernels",
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


class Forked:
    """A running or ended process, with its standard error in a file."""

    def __init__(self, process: Any, errors: Path) -> None:
        self._process, self._errors = process, errors
        self.pid: int = process.pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end, at most `timeout` seconds, and return what `poll` does."""
        self._process.join(timeout)
        return self.poll()

    def kill(self) -> None:
        """Kill it and its group, and wait for its end."""
        with suppress(ProcessLookupError):  # it has ended, or has no group yet
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self.wait()

    def __repr__(self) -> str:
        return f"process {self.pid}, exit code {self.poll()}: {self.errors}"

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        return self._errors.read_text(encoding="utf-8")


@contextmanager
def forked(
    program: Callable[..., object],
    *arguments: object,
    errors: Path,
    output: Path = Path(os.devnull),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Forked]:
    """Run `program(*arguments)` in a process and a group of its own, killed when the block ends."""
    process = CONTEXT.Process(
        target=_run,
        args=(program, arguments, output, errors, {**os.environ, **(environment or {})}),
    )
    process.start()
    running = Forked(process, errors)
    try:
        yield running
    finally:
        running.kill()


def _run(
    program: Callable[..., object],
    arguments: tuple[object, ...],
    output: Path,
    errors: Path,
    environment: Mapping[str, str],
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in ((1, output), (2, errors)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, stream)
        os.close(opened)
    try:
        program(*arguments)
    finally:
        atexit._run_exitfuncs()
