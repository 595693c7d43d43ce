"""Disturbance: `fae` commands that are done although workers die and programs are ended."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from faults.fleet import Fleet
from faults.programs import FAE, Way, ended

Do = Callable[[list[str]], None]

_TERMINATED = (143, -15)
#: How often a command is tried that ended in the promise that another try goes on.
_TRIES = 6
_PROMISE = "run it again to go on"


class Disturbance:
    """Random faults for commands, and how many there were."""

    def __init__(self, rng: random.Random, fleet: Fleet) -> None:
        self.ended = 0
        self._random = rng
        self._fleet = fleet

    @property
    def faults(self) -> int:
        """Workers killed and programs ended."""
        return self._fleet.kills + self.ended

    def by_driver(self, arguments: list[str]) -> None:
        """Do a command in the driver that lives on; EndedError where it fails."""
        code, printed = 0, ""
        for _ in range(_TRIES):
            with self._kills(arguments):
                code, printed = self._fleet.do(arguments)
            if code == 0:
                return
            if _PROMISE not in printed:
                break
        raise ended(arguments[0], code, printed)

    def by_program(self, arguments: list[str]) -> None:
        """Do a command as a program, again where SIGTERM ended it; EndedError where it fails."""
        way, code, printed = Way(Path.cwd()), 0, ""
        for left in reversed(range(_TRIES)):
            with (
                subprocess.Popen(
                    way.command(FAE, *arguments),
                    env=way.environment,
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
            if code not in _TERMINATED and _PROMISE not in printed:
                break
            if arguments[0] == "train" and "--resume" not in arguments:
                arguments = [*arguments, "--resume"]
        raise ended(arguments[0], code, printed)

    def _kills(self, arguments: list[str]) -> AbstractContextManager[None]:
        """Once in two times, the death of a worker during a command on the cluster."""
        if "--scheduler" not in arguments or self._random.random() < 0.5:
            return nullcontext()
        return _during(self._random.uniform(0.05, 2.5), self._fleet.kill_a_worker)

    def _terminations(
        self, arguments: list[str], program: subprocess.Popen[str]
    ) -> AbstractContextManager[None]:
        """Once in three times, SIGTERM for a program that can go on."""
        if arguments[0] not in ("prepare", "train") or self._random.random() < 0.67:
            return nullcontext()

        def end() -> None:
            if program.poll() is None:
                self.ended += 1
                program.terminate()

        return _during(self._random.uniform(0.5, 5), end)


@contextmanager
def _during(seconds: float, fault: Callable[[], None]) -> Iterator[None]:
    """Have the fault happen so long after the block has begun, if it lasts so long."""
    timer = threading.Timer(seconds, fault)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
