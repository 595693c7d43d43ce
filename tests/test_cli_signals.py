"""A process that is asked to end says so with its exit code, however early that is."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys
from pipeline import cli
from pipeline.cli.app import _Commands
_Commands.{place} = lambda *_, **__: signal.raise_signal({kind})
sys.argv = ["fae", "version"]
cli.main()
"""


@pytest.mark.parametrize("place", ["invoke", "make_context"])
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_the_command_line_is_read_is_no_traceback(
    place: str, kind: int, code: int
) -> None:
    program = PROGRAM.format(place=place, kind=int(kind))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    said = "terminated" if kind == signal.SIGTERM else ""  # typer has no word for Ctrl-C
    assert (done.returncode, done.stderr.split(";")[0]) == (code, said), done.stderr
