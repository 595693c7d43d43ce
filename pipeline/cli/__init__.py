"""`fae`: the stages as commands. It parses, calls and prints; what is done is done elsewhere."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

from pipeline.cli import stages, uses
from pipeline.cli.app import app

__all__ = ["app", "main", "stages", "uses"]


def _terminate(signum: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def main() -> None:
    """The entry point of `fae`."""
    signal.signal(signal.SIGTERM, _terminate)
    app()
