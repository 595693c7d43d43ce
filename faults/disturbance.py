"""Disturbance: run `fae` commands while workers are killed and programs are terminated."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from faults.fleet import Fleet
from faults.programs import FAE, Launch, program_error

Do = Callable[[list[str]], None]

_TERMINATED = (143, -15)
#: How often a command is run whose message says that running it again resumes it.
_TRIES = 6
_RESUMABLE = "run the same command to resume"


class Disturbance:
    """Random faults during commands, and how many there were."""

    def __init__(self, rng: random.Random, fleet: Fleet) -> None:
        self.program_error = 0
        self._random = rng
        self._fleet = fleet

    @property
    def faults(self) -> int:
        """The number of workers killed and programs terminated."""
        return self._fleet.kills + self.program_error

    def run_in_driver(self, arguments: list[str]) -> None:
        """Run a command in the long-lived driver. Raises ProgramError where it fails."""
        code, printed = 0, ""
        for _ in range(_TRIES):
            with self._kills(arguments):
                code, printed = self._fleet.do(arguments)
            if code == 0:
                return
            if _RESUMABLE not in printed:
                break
        raise program_error(arguments[0], code, printed)

    def run_as_program(self, arguments: list[str]) -> None:
        """Run a command as a program, again if SIGTERM ended it.

        Raises ProgramError where it fails.
        """
        launch, code, printed = Launch(Path.cwd()), 0, ""
        for left in reversed(range(_TRIES)):
            with (
                subprocess.Popen(
                    launch.command(FAE, *arguments),
                    env=launch.environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                ) as program,
                self._kills(arguments),
                self._terminations(arguments, program) if left else nullcontext(),
            ):
                printed, _ = program.communicate()
            code = program.returncode
            if code == 0:
                return
            if code not in _TERMINATED and _RESUMABLE not in printed:
                break
            if arguments[0] == "train" and "--resume" not in arguments:
                arguments = [*arguments, "--resume"]
        raise program_error(arguments[0], code, printed)

    def _kills(self, arguments: list[str]) -> AbstractContextManager[None]:
        """Kill a worker during every second command on the cluster."""
        if "--scheduler" not in arguments or self._random.random() < 0.5:
            return nullcontext()
        return _during(self._random.uniform(0.05, 2.5), self._fleet.kill_a_worker)

    def _terminations(
        self, arguments: list[str], program: subprocess.Popen[str]
    ) -> AbstractContextManager[None]:
        """Send SIGTERM to every third program that can be resumed."""
        if arguments[0] not in ("prepare", "train") or self._random.random() < 0.67:
            return nullcontext()

        def end() -> None:
            if program.poll() is None:
                self.program_error += 1
                program.terminate()

        return _during(self._random.uniform(0.5, 5), end)


@contextmanager
def _during(seconds: float, fault: Callable[[], None]) -> Iterator[None]:
    """Cause the fault so many seconds after the block starts, unless it has ended by then."""
    timer = threading.Timer(seconds, fault)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
