"""All commands together, and how a process runs the one that it was asked for."""

from __future__ import annotations

from fae.cli import stages, uses
from fae.cli.app import app, asked_to_end
from fae.format.signals import Terminated, terminate_on_sigterm

__all__ = ["app", "run", "stages", "uses"]


def run() -> None:
    """Run the command line that the process was given; it ends by SystemExit."""
    try:
        with terminate_on_sigterm():
            app()
    except (KeyboardInterrupt, Terminated) as asked:  # while the command line was still read
        raise SystemExit(asked_to_end(asked)) from None
