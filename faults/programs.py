"""Run `fae` and the trainer as processes of their own, as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.project import PYTHONPATH

FAE = "fae"
TRAINER = "fae_trainer"
_MINUTES = 10


class ProgramError(Exception):
    """A program failed or did not end."""


@dataclass(frozen=True)
class Launch:
    """How to start a program: in which folder, with which changes to the environment.

    `prefix` is put before the command line; `options` are those of Python.
    """

    folder: Path
    changed: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def command(self, module: str, *arguments: str | Path) -> list[str]:
        """Return the command line that runs a module."""
        options = [*self.prefix, sys.executable, *self.options]
        return [*options, "-m", module, *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the program."""
        return {**os.environ, "PYTHONPATH": PYTHONPATH, **self.changed}


def program_error(command: str | Path, code: int, words: str) -> ProgramError:
    """Return the error of a failed program, with the start and the end of what it printed."""
    words = words if len(words) < 2000 else f"{words[:1000]} … {words[-1000:]}"
    return ProgramError(f"{command} ended with {code}: {words}")


def run_program(module: str, *arguments: str | Path, launch: Launch) -> str:
    """Run a program and return its standard output.

    Raises ProgramError where it fails or hangs.
    """
    try:
        done = subprocess.run(
            launch.command(module, *arguments),
            cwd=launch.folder,
            env=launch.environment,
            capture_output=True,
            timeout=60 * _MINUTES,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{arguments[0]} has not ended after {_MINUTES} minutes") from None
    if done.returncode:
        raise program_error(arguments[0], done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")
