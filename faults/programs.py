"""Programs: `fae` and the trainer as processes of their own, as users run them."""

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


class EndedError(Exception):
    """A program ended with an error, or did not end."""


@dataclass(frozen=True)
class Way:
    """How to run a program: in which folder, with what changed in the environment.

    `prefix` is the beginning of the command line, `options` are Python's.
    """

    folder: Path
    changed: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def command(self, module: str, *arguments: str | Path) -> list[str]:
        """The command line."""
        options = [*self.prefix, sys.executable, *self.options]
        return [*options, "-m", module, *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        """All of the environment."""
        return {**os.environ, "PYTHONPATH": PYTHONPATH, **self.changed}


def ended(command: str | Path, code: int, words: str) -> EndedError:
    """That a program failed, with the beginning of its words and their end."""
    words = words if len(words) < 2000 else f"{words[:1000]} … {words[-1000:]}"
    return EndedError(f"{command} ended with {code}: {words}")


def ran(module: str, *arguments: str | Path, way: Way) -> str:
    """What a program printed; EndedError where it fails or hangs."""
    try:
        done = subprocess.run(
            way.command(module, *arguments),
            cwd=way.folder,
            env=way.environment,
            capture_output=True,
            timeout=60 * _MINUTES,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EndedError(f"{arguments[0]} has not ended after {_MINUTES} minutes") from None
    if done.returncode:
        raise ended(arguments[0], done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")
