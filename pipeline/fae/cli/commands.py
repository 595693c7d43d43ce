"""All commands together, and how a process runs the one that it was asked for."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from fae.cli import stages, uses
from fae.cli.app import Terminated, app, asked_to_end

__all__ = ["app", "run", "stages", "uses"]


def run() -> None:
    """Run the command line that the process was given; it ends by SystemExit."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except (KeyboardInterrupt, Terminated) as asked:  # while the command line was still read
        raise SystemExit(asked_to_end(asked)) from None


def _terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
