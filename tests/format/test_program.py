"""A program ends in an exit code that scripts can rely on."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

WRITING = """
import contextlib, signal, sys
from fae.format.errors import disk_errors_reported
from fae.format.program import run_program
def write():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # as if it came after the write
    print("ready", flush=True)
    with {context}:
        while True:
            print("more", flush=True)
sys.exit(run_program(write, "run again"))
"""


@pytest.mark.parametrize(
    "context", ["contextlib.nullcontext()", "disk_errors_reported('a file beside')"]
)
def test_a_terminal_that_ends_is_a_hang_up_even_before_the_signal(context: str) -> None:
    said, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WRITING.format(context=context)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as program:
        os.close(terminal)
        assert b"ready" in os.read(said, 100)
        os.close(said)
        assert program.wait() == 128 + signal.SIGHUP


def test_a_character_that_the_locale_lacks_is_shown_as_an_escape() -> None:
    program = "from fae.format.program import run_program; run_program(lambda: print('2–3'), '')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert (done.stdout, done.stderr) == (b"2\\u20133\n", b"")
