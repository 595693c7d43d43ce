"""`fae`: the stages as commands. It parses, calls and prints; what is done is done elsewhere."""

from __future__ import annotations

import gc
import signal
from types import FrameType
from typing import NoReturn

from pipeline.cli import stages, uses
from pipeline.cli.app import Terminated, app, asked_to_end

__all__ = ["app", "main", "stages", "uses"]


def _terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def main() -> None:
    """The entry point of `fae`."""
    gc.set_threshold(100_000, 50, 50)  # what is imported is much, and none of it is garbage
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except (KeyboardInterrupt, Terminated) as asked:  # while the command line was still read
        raise SystemExit(asked_to_end(asked)) from None
    finally:
        gc.freeze()  # or the interpreter's end goes through all of it once more
